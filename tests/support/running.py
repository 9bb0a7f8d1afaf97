"""Other programs, run beside a test for as long as it needs them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.demo.process_group import end_group

__all__ = ["process"]

PATIENCE_S = 30.0


@contextmanager
def process(command: list[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run something until it is wanted no more: then it has SIGTERM. log: gets what it says."""
    with log.open("ab") as output:
        running = subprocess.Popen(
            command, env={**os.environ, **env}, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield running
        finally:
            end_group(running, first=signal.SIGTERM, patience_s=PATIENCE_S)
