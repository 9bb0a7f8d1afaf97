"""Running a coroutine from a blocking task, and ending it from outside."""

from __future__ import annotations

import asyncio
import threading

import pytest
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowTaskTerminated,
    AirflowTaskTimeout,
    TaskDeferred,
)

from airflow_provider_coterie.work import Work
from coterie import Orchestrator, Task, sync


def test_it_returns_the_result():
    async def work():
        return 5

    assert Work().run(work()) == 5


def test_stopping_cancels_the_work_and_waits_for_its_end():
    started, ended = threading.Event(), []
    work = Work()

    async def busy():
        try:
            started.set()
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    stopper = threading.Thread(target=lambda: (started.wait(10), work.stop()))
    stopper.start()
    with pytest.raises(AirflowException):
        work.run(busy())
    stopper.join()

    assert ended == ["cleaned up"]


def test_stopping_what_does_not_run_does_nothing():
    Work().stop()


@pytest.mark.parametrize("error", [AirflowTaskTimeout("late"), KeyError("mine")])
def test_whatever_the_work_raises_passes_through(error):
    async def work():
        raise error

    with pytest.raises(type(error)):
        Work().run(work())


def test_airflow_s_control_flow_passes_through():
    class Deferral(TaskDeferred):
        def __init__(self):
            BaseException.__init__(self)

    async def work():
        raise Deferral

    with pytest.raises(TaskDeferred):
        Work().run(work())


def test_nothing_begins_after_a_stop():
    work, begun = Work(), []

    async def late():
        begun.append(1)

    work.stop()
    with pytest.raises(AirflowException):
        work.run(late())

    assert begun == []


def test_nor_what_was_asked_for_just_before_it(monkeypatch):
    work, begun, run = Work(), [], sync.run

    async def late():
        begun.append(1)

    def stopped_meanwhile(asked):
        work.stop()
        return run(asked)

    monkeypatch.setattr(sync, "run", stopped_meanwhile)
    with pytest.raises(AirflowException):
        work.run(late())

    assert begun == []


class Desk:
    """An orchestrator with an agent that ends when it is told to."""

    def __init__(self, timeout_s):
        self.came, self.go = threading.Event(), threading.Event()
        self.orchestrator = Orchestrator(graceful_shutdown_timeout_s=timeout_s)
        self.orchestrator.register_agent("a", "x", handler=self.work)

    async def work(self, task_input):
        self.came.set()
        while not self.go.is_set():  # noqa: ASYNC110  # set in another thread
            await asyncio.sleep(0.01)
        return "done"

    def at_work(self):
        """A `Work` that drains it, and what it is to run."""
        work = Work()
        work.drains(self.orchestrator)
        return work, self.orchestrator.execute_task(Task("one", "x"))


def test_agents_may_finish_and_that_may_be_recorded():
    desk = Desk(timeout_s=600)
    work, task = desk.at_work()

    def stop():
        desk.came.wait(10)
        threading.Timer(0.1, desk.go.set).start()
        work.stop()

    async def record():
        return "recorded"

    stopper = threading.Thread(target=stop)
    stopper.start()
    result = work.run(task)
    stopper.join()

    assert result.output == "done"
    assert work.run(record(), though_stopped=True) == "recorded"


def test_agents_that_do_not_finish_in_time_are_ended_for_a_retry_to_go_on():
    desk = Desk(timeout_s=0.05)
    work, task = desk.at_work()
    stopper = threading.Thread(target=lambda: (desk.came.wait(10), work.stop()))

    stopper.start()
    with pytest.raises(AirflowException, match="a retry goes on") as stopped:
        work.run(task)
    stopper.join()

    assert not isinstance(stopped.value, (AirflowFailException, AirflowTaskTerminated)), "which are never tried again"


def test_a_second_signal_cuts_the_time_short():
    desk = Desk(timeout_s=600)
    work, task = desk.at_work()
    drain, draining = desk.orchestrator.drain, threading.Event()

    async def drain_and_say_so():
        draining.set()
        await drain()

    desk.orchestrator.drain = drain_and_say_so

    def stop_twice():
        desk.came.wait(10)
        first = threading.Thread(target=work.stop)
        first.start()
        draining.wait(10)
        work.stop()
        first.join()

    stopper = threading.Thread(target=stop_twice)
    stopper.start()
    with pytest.raises(AirflowException):
        work.run(task)
    stopper.join()
