"""A real Prefect server of one's own: on a free port, with its own home, gone when it is no longer wanted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.demo.process_group import end_group, free_ports

__all__ = ["PrefectServer", "ServerFailed"]

_POLL_S = 0.2
_LOG_TAIL_CHARS = 2000


class ServerFailed(RuntimeError):
    """The server did not start, or ended by itself; the message holds the end of its log."""


class PrefectServer:
    """One `prefect server start`: its database, profile and results lie below `home`.

    home: an empty or existing folder. python: the interpreter that has Prefect; by default this one.
    port: by default a free one. ui: whether the server also serves its pages.
    startup_timeout_s, stop_timeout_s: seconds until it must answer, and until it is killed after SIGINT.

    Use it as a context manager: whatever happens inside, the process is gone afterwards.
    """

    def __init__(
        self,
        home: Path | str,
        *,
        python: Path | str = sys.executable,
        port: int | None = None,
        ui: bool = False,
        startup_timeout_s: float = 180.0,
        stop_timeout_s: float = 20.0,
    ) -> None:
        self.home = Path(home).absolute()
        self.port = port or free_ports(1)[0]
        self.log_path = self.home / "server.log"
        self._python = str(python)
        self._ui = ui
        self._startup_timeout_s = startup_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        """What `PREFECT_API_URL` is set to."""
        return f"{self.url}/api"

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables that a client of this server needs, analytics off."""
        return {
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "DO_NOT_TRACK": "1",
        }

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """`base` (by default this process's environment) without its Prefect settings, with those of this server."""
        inherited = os.environ if base is None else base
        return {
            **{name: value for name, value in inherited.items() if not name.startswith("PREFECT_")},
            **self.settings,
        }

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            ServerFailed: it ended, or did not answer in time; it is stopped.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        host = ["--host", "127.0.0.1", "--port", str(self.port), "--analytics-off"]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._python, "-m", "prefect", "server", "start",
                    *host, "--ui" if self._ui else "--no-ui",
                ],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Its own group: Ctrl-C in the terminal reaches us alone, and we stop it in order.
                start_new_session=True,
            )  # fmt: skip
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Interrupt the server as Ctrl-C would, and kill it if that takes too long; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            end_group(process, first=signal.SIGINT, patience_s=self._stop_timeout_s)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._startup_timeout_s
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise ServerFailed(f"the Prefect server ended while it started:\n{self._log_tail()}")
            if _answers(f"{self.api_url}/health"):
                return
            time.sleep(_POLL_S)
        raise ServerFailed(
            f"the Prefect server did not answer within {self._startup_timeout_s:g} s:\n{self._log_tail()}"
        )

    def _log_tail(self) -> str:
        return self.log_path.read_text("utf-8", errors="replace")[-_LOG_TAIL_CHARS:]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
