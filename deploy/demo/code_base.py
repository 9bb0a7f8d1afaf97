"""The code that the demo reviews: one published package at one version, or whatever the caller names."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

__all__ = ["DEFAULT", "fetch_default"]

# Well known, pure Python, small enough for a laptop.
DEFAULT = "flask==3.1.2"


def fetch_default(uv: str, python: str, folder: Path) -> Path:
    """Fetch the default package's own files, without dependencies, into `folder`; returns the folder.

    What the installer adds (metadata, scripts) is taken away: only the published code is reviewed.

    Raises:
        RuntimeError: the package could not be fetched; the message holds what the installer said.
    """
    target = folder / DEFAULT.partition("==")[0]
    command = [uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "--target", str(target), DEFAULT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"cannot fetch {DEFAULT}: {done.stderr.strip()[-500:]}; or name a code base: make demo REPO=…"
        )
    for added in (*target.glob("*.dist-info"), target / "bin", target / ".lock"):
        shutil.rmtree(added, ignore_errors=True)
        added.unlink(missing_ok=True) if added.is_file() else None
    return target
