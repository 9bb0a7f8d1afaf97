"""The bridge as a service: it runs until it is told to end (SIGTERM, Ctrl-C)."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence

from coterie.errors import CoterieError, Misuse
from prefect_coterie.bridge_block import CoterieEventBridge
from prefect_coterie.source import store_of_events

__all__ = ["main"]

_log = logging.getLogger("coterie.bridge")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a bridge. 0: it was told to end; 1: something is wrong, which is said."""
    asked = _parser().parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    # Prefect shows what reaches its own handlers, too.
    _log.propagate = False
    try:
        asyncio.run(_served(asked))
    except CoterieError as error:
        _log.error("bridge.ended: %s", error)
        return 1
    return 0


async def _served(asked: argparse.Namespace) -> None:
    block = await _block(asked)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    work = asyncio.create_task(block.arun())
    told = asyncio.create_task(stop.wait())
    named = block.name or "without a name of its own"
    _log.info("bridge.begun: %s, to Prefect %s, from Prefect %s", named, block.to_prefect, block.from_prefect)
    await asyncio.wait([work, told], return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not work.done():
        work.cancel()
        await asyncio.wait([work])
    if not work.cancelled():
        work.result()
    _log.info("bridge.ended: it was told to")


async def _block(asked: argparse.Namespace) -> CoterieEventBridge:
    if asked.block is not None:
        try:
            return await CoterieEventBridge.aload(asked.block.removeprefix("coterie-event-bridge/"))
        except ValueError as error:
            raise Misuse(f"no block coterie-event-bridge/{asked.block!r} can be loaded: {error}") from error
    store = await store_of_events(asked.store)
    if asked.topic is not None:
        store = store.model_copy(update={"topic": asked.topic})
    return CoterieEventBridge(
        to_prefect=asked.to_prefect,
        from_prefect=asked.from_prefect,
        store=store,
        name=asked.name,
        begin=asked.begin,
        confirm=asked.confirm,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m prefect_coterie.bridge",
        description="Carry events between a coterie bus and the Prefect server. What is not named here, and "
        "credentials, come from COTERIE_STORE, COTERIE_SIGNING_KEYS and Prefect's settings.",
    )
    parser.add_argument("block", nargs="?", help="the name of a CoterieEventBridge block, in place of all else")
    parser.add_argument(
        "--to-prefect", action="append", default=[], metavar="TYPE", help="such as task.failed, or 'com.example.*'"
    )
    parser.add_argument(
        "--from-prefect", action="append", default=[], metavar="NAME", help="such as 'prefect.flow-run.*'"
    )
    parser.add_argument("--store", help="a CoterieStore block, or a URL without credentials")
    parser.add_argument("--topic", help="by default the store's")
    parser.add_argument(
        "--name",
        help="bridges of one name go on where the last one was, and forward the same; by default one for each "
        "direction, topic and patterns",
    )
    parser.add_argument("--begin", choices=["begin", "end"], default="end", help="where the first of that name begins")
    parser.add_argument(
        "--confirm", choices=["accepted", "stored"], default="accepted", help="when Prefect's server has an event"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
