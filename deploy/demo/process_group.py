"""Processes that were started in a group of their own: free ports for them, and their end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time

__all__ = ["end_group", "free_ports", "hear_interrupts"]

_POLL_S = 0.1
_KILL_PATIENCE_S = 5.0


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback interface that nobody uses at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def end_group(process: subprocess.Popen[bytes], *, first: signal.Signals, patience_s: float) -> None:
    """Send `first` to the whole group, and SIGKILL to what is left of it after `patience_s` seconds.

    The process must have been started with `start_new_session`. Afterwards it has been waited for.
    """
    for number, wait_s in ((first, patience_s), (signal.SIGKILL, _KILL_PATIENCE_S)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline and _alive(process):
            time.sleep(_POLL_S)
    process.wait()


def _alive(process: subprocess.Popen[bytes]) -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def hear_interrupts() -> None:
    """Take Ctrl-C, and let all that is started here take it, where a shell without job control had it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
