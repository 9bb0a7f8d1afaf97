"""Running a coroutine from a blocking task, and ending it from outside."""

from __future__ import annotations

import asyncio
import threading

import pytest
from airflow.sdk.exceptions import AirflowTaskTerminated, AirflowTaskTimeout, TaskDeferred

from airflow_provider_coterie.work import Work


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
    with pytest.raises(AirflowTaskTerminated):
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
    with pytest.raises(AirflowTaskTerminated):
        work.run(late())

    assert begun == []
