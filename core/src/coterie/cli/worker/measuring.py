"""`coterie worker --metrics`: what the worker does, as a page beside its health checks."""

from __future__ import annotations

from coterie.errors import Misuse
from coterie.events import Event
from coterie.remote.health import Page
from coterie.remote.queue import topic_of
from coterie.remote.worker import Worker
from coterie.runtime import Runtime
from coterie.telemetry.exposition import Exposition

__all__ = ["Measuring"]

_PATH = "/metrics"


class Measuring:
    """Counts what one worker does; give it to the runtime as its listener.

    Raises:
        Misuse: nobody could read it, or its packages are not installed.
    """

    def __init__(self, *, health: tuple[str, int] | None) -> None:
        if health is None:
            raise Misuse("--metrics are read where health checks are answered; give --health HOST:PORT too")
        self._exposition = Exposition()

    def __call__(self, event: Event) -> None:
        """Count an event."""
        self._exposition.metrics(event)

    def of(self, worker: Worker, runtime: Runtime) -> None:
        """Show this worker, before it begins."""
        assert worker.health is not None
        shown = self._exposition
        queues = {agent_type: topic_of(agent_type) for agent_type in worker.types}
        shown.metrics.watch(runtime.orchestrator)
        shown.metrics.watch_worker(worker, runtime.remote.log, queues=queues)
        worker.health.pages[_PATH] = Page(shown.content_type, shown.page)
