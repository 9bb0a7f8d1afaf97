"""`coterie trace serve`: the pages of runs, for a browser, until a signal ends it."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from coterie.artifacts import ArtifactStore
from coterie.cli.runs.place import JournalPlace
from coterie.cli.trace.site import Site
from coterie.remote.http import HttpServer

__all__ = ["serve_command"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def serve_command(place: JournalPlace, artifacts: str | None, *, host: str, port: int) -> int:
    """Serve until SIGINT or SIGTERM; 0 then.

    Raises:
        Misuse: no store has such a URL, or nobody can listen there.
    """
    asyncio.run(_serve(place, place.artifacts_if_any(artifacts), host, port))
    return 0


async def _serve(place: JournalPlace, artifacts: ArtifactStore | None, host: str, port: int) -> None:
    async with place.opened() as journal:
        # What is wrong with its URL, whoever started this reads; that it is away now, whoever asks for a page.
        where = journal.store.url
    local = _is_local(host)
    site = Site(place, artifacts, hosts={*_LOOPBACK, host.lower()} if local else None)
    server = HttpServer(host, port, site.answer, what="serve pages")
    ended = asyncio.Event()
    with _signals(ended.set):
        await server.start()
        try:
            _tell(host, server.port, where, local=local)
            await ended.wait()
        finally:
            await server.aclose()


def _tell(host: str, port: int, where: str, *, local: bool) -> None:
    if not local:
        _say(
            f"warning: nobody is asked who he is: whoever reaches {host} sees the runs, and what their errors say; "
            "have a proxy in front of it that asks, or leave --host out"
        )
    address = f"[{host}]" if ":" in host else host
    _say(f"the runs of {where} are at http://{address}:{port}/ until Ctrl-C")


def _is_local(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _say(line: str) -> None:
    # Whoever read them may be gone: that ends no server.
    with suppress(OSError):
        sys.stderr.write(line.encode("ascii", "backslashreplace").decode() + "\n")
        sys.stderr.flush()
