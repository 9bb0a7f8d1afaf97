"""A team at work to look at: its stores, a plan whose agents stop at a gate, and what a look costs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from coterie import ForEach, Plan, Task, Team
from coterie._rules.pool_policy import PoolPolicy
from coterie._rules.quota import Quota
from coterie._rules.written import Page
from coterie.artifacts import ArtifactStore
from coterie.breaker import BreakerPolicy
from coterie.cli.fleet.known import Known
from coterie.cli.top.watch import Places
from coterie.journal import Journal
from coterie.policies import Policies, Spend
from coterie.ports import JournalStore, LogStore, StateStore
from coterie.runtime import Runtime
from tests.fleet.remote.fleet import until

__all__ = ["CountedJournal", "Desk", "Gate", "newsroom", "plan"]


@dataclass
class Gate:
    """Where agents wait until they are let through."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: Counter[str] = field(default_factory=Counter)

    async def pass_(self, who: str) -> None:
        self.arrived[who] += 1
        await self.opened.wait()

    async def reached(self, who: str, count: int = 1) -> None:
        await until(lambda: self.arrived[who] >= count)


def newsroom(gate: Gate) -> Team:
    """A team that shares its writer, and one of whose agents always fails."""
    team = Team("newsroom")

    @team.agent("fetcher", agent_id="fetcher-1")
    async def fetch(task_input: dict[str, Any]) -> list[str]:
        return ["harvest", "weather", "chess"]

    @team.agent("writer", agent_id="writer-1")
    async def write(task_input: dict[str, Any], ctx: Any) -> str:
        if task_input["item"] != "harvest":
            await gate.pass_("writer")
        ctx.report_usage(input_tokens=100, output_tokens=20, cost_micros=50_000)
        return str(task_input["item"])

    @team.agent("checker", agent_id="checker-1")
    async def check(task_input: dict[str, Any]) -> None:
        raise TimeoutError("the archive did not answer")

    @team.agent("printer", agent_id="printer-1")
    async def print_it(task_input: dict[str, Any]) -> None: ...

    team.protect(
        "writer",
        Policies(
            pool=PoolPolicy(),
            limits={"requests": Quota(rate_per_s=1, burst=100)},
            budgets=[Spend(name="money", limit="1.00", per_call="0.05", unit="money", window=86_400)],
        ),
    )
    team.protect("checker", Policies(breaker=BreakerPolicy(failure_threshold=1)))
    return team


def plan(name: str = "news") -> Plan:
    return Plan(
        name,
        [
            Task("fetch", "fetcher"),
            Task("check", "checker"),
            Task("write", "writer", foreach=ForEach(task="fetch")),
            Task("print", "printer", depends_on=["write"]),
        ],
    )


@dataclass
class Desk:
    """Where the team's doings lie, and the team itself."""

    store: StateStore
    books: JournalStore
    log: LogStore
    artifacts: ArtifactStore
    gate: Gate = field(default_factory=Gate)

    @property
    def team(self) -> Team:
        return newsroom(self.gate)

    def places(self, *, with_team: bool = True) -> Places:
        team = self.team
        known = Known(team if with_team else None)
        types = {name: [agent.id for agent in team.of_type(name)] for name in team.agent_types} if with_team else {}
        return Places(self.store, Journal(self.books), self.log, self.artifacts, known, types)

    @asynccontextmanager
    async def runtime(self) -> AsyncIterator[Runtime]:
        async with Runtime(
            self.team, store=self.store, log=self.log, artifacts=self.artifacts, journal=Journal(self.books)
        ) as runtime:
            yield runtime

    @asynccontextmanager
    async def at_work(self, run: str = "news-1") -> AsyncIterator[asyncio.Task[Any]]:
        """A run whose writer is at its second item; what is left of it in the end is let through."""
        async with self.runtime() as runtime:
            work = asyncio.create_task(runtime.orchestrator.execute_workflow(plan(), workflow_id=run))
            try:
                await self.gate.reached("writer")
                yield work
            finally:
                self.gate.opened.set()
                await work


class CountedJournal:
    """A journal store that counts how often it is asked, for how much, and how many texts it hands out."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()
        self.asked = 0
        self.texts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def get(self, run: str, paths: Sequence[str]) -> tuple[dict[str, str], int]:
        texts, now = await self._store.get(run, paths)
        self.calls["get"] += 1
        self.asked += len(paths)
        self.texts += len(texts)
        return texts, now

    async def read(self, run: str, shelf: str = "") -> Mapping[str, str]:
        texts = await self._store.read(run, shelf)
        self.calls["read"] += 1
        self.texts += len(texts)
        return texts

    async def runs(self, *, limit: int, after: str | None = None) -> Page:
        page = await self._store.runs(limit=limit, after=after)
        self.calls["runs"] += 1
        self.texts += len(page.runs)
        return page

    def counted(self) -> tuple[dict[str, int], int, int]:
        """Calls by kind, paths that were asked for, and texts and runs that were handed out since the last time."""
        found = dict(self.calls), self.asked, self.texts
        self.calls.clear()
        self.asked = self.texts = 0
        return found
