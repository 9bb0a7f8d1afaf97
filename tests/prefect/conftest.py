"""One real Prefect server for all these tests; the clients here and in child processes know no other."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from deploy.demo.prefect_server import PrefectServer

REPOSITORY = Path(__file__).resolve().parents[2]

_server: PrefectServer | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Prefect reads its settings when it is imported, which happens when the tests are collected."""
    global _server  # noqa: PLW0603
    # Prefect leaves connections of its own to the garbage collector.
    config.addinivalue_line("filterwarnings", "ignore:unclosed:ResourceWarning")
    _server = PrefectServer(Path(tempfile.mkdtemp(prefix="coterie-prefect-")))
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ.update(_server.settings)
    # The team lies in the repository, for the processes that flows start too.
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    # State and journals lie nowhere else, for them as well.
    os.environ["COTERIE_HOME"] = str(_server.home / "coterie")
    os.environ.pop("COTERIE_STORE", None)


@pytest.fixture(scope="session", autouse=True)
def server() -> Iterator[PrefectServer]:
    assert _server is not None
    with _server:
        yield _server
        _drain()


def pytest_unconfigure() -> None:
    # The same, for what is collected after the last test: there, no filter of a test's holds.
    warnings.filterwarnings("ignore", "unclosed", ResourceWarning)
    gc.collect()
    if _server is not None:
        shutil.rmtree(_server.home, ignore_errors=True)


@pytest.fixture
def informed() -> Iterator[None]:
    """Logs as they are where nobody has set a level."""
    loggers = [logging.getLogger(f"prefect.{kind}") for kind in ("task_runs", "flow_runs")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO)
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """An empty artifact store of the test's own."""
    return f"file://{tmp_path}/artifacts"


def _drain() -> None:
    """Prefect sends logs and events from threads that would go on trying after the server is gone."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.instance().drain()
    EventsWorker.drain_all(timeout=10)
