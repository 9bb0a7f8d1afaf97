"""Three plain Airflow tasks, each in a process of its own, call one provider through one breaker."""

from __future__ import annotations

import asyncio

from airflow.sdk import dag, task
from deploy.demo.calling import keep_calling


@dag(schedule=None)
def one_breaker() -> None:
    """Call until told to stop."""

    @task
    def call(number: int) -> dict[str, int]:
        return asyncio.run(keep_calling("airflow", number))

    call.expand(number=[0, 1, 2])


one_breaker()
