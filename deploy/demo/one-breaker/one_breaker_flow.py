"""Three plain Prefect tasks call one provider through one breaker."""

from __future__ import annotations

import asyncio

from deploy.demo.calling import keep_calling
from prefect import flow, task


@task
def call(number: int) -> dict[str, int]:
    """Call until told to stop, in a thread and event loop of its own."""
    return asyncio.run(keep_calling("prefect", number))


@flow
def one_breaker() -> list[dict[str, int]]:
    """Three callers side by side."""
    return [future.result() for future in [call.submit(number) for number in range(3)]]


if __name__ == "__main__":
    one_breaker()
