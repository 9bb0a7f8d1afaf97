"""One process of a fleet; it obeys commands on standard input, one JSON object a line, and answers each in turn.

Run as `python -m tests.fleet.stampede.member STORE_URL JOURNAL_URL`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import threading
from collections import Counter
from dataclasses import asdict
from typing import Any

from coterie.breaker import BreakerPolicy, CircuitBreaker, Pace
from coterie.errors import BreakerOpen
from coterie.events import Event
from coterie.stores.opening import open_state_store
from tests.fleet.stampede.journal import open_journal
from tests.fleet.stampede.recording import Call, RecordingStore, current

# How long a caller waits at most before it tries again, if a trial refused it, or it is one of those who do not wait
# for as long as they are told: one in so many.
AGAIN_S = 0.02
IMPATIENT = 4
PATIENCE_S = 60.0


class Broken(Exception):
    """What the agent under test raises."""


class Storm:
    """Callers that try again and again until one of their calls passes freely, or until it is over.

    probe: "ok", "fail", or "hang": until let go, then ok. cancel: the share of calls that their callers cancel.
    """

    def __init__(self, member: Member, name: str, *, callers: int, probe: str, cancel: float, seed: int) -> None:
        self._member = member
        self._name = name
        self._probe = probe
        self._cancel = cancel
        self._chance = random.Random(seed)
        self._over = asyncio.Event()
        self.let_go = asyncio.Event()
        self.ends: Counter[str] = Counter()
        self._callers = [asyncio.ensure_future(self._call_on(number % IMPATIENT == 0)) for number in range(callers)]

    async def calm(self) -> dict[str, int]:
        self._over.set()
        self.let_go.set()
        await asyncio.gather(*self._callers)
        return dict(self.ends)

    async def _call_on(self, impatient: bool) -> None:
        wait_s = 0.0
        while not self._over.is_set() and wait_s >= 0:
            end, wait_s = await self._once(impatient)
            self.ends[end] += 1
            if wait_s > 0:
                await self._until_over(wait_s)

    async def _once(self, impatient: bool) -> tuple[str, float]:
        """How one call ended, and how long to wait; below 0: for ever."""
        call = Call()
        task = asyncio.ensure_future(self._member.call(self._name, call, self._act))
        if self._chance.random() < self._cancel:
            asyncio.get_running_loop().call_later(self._chance.choice([0, 0.001, 0.005, 0.02]), task.cancel)
        try:
            await task
        except BreakerOpen as refused:
            soon = impatient or refused.state != "open"
            again_s = min(refused.retry_after_s, AGAIN_S) if soon else refused.retry_after_s
            return f"refused {refused.state}", max(again_s, 0.0001)
        except Broken:
            return "failed", 0.0
        except asyncio.CancelledError:
            return "cancelled", 0.0001
        trial = call.admission is not None and call.admission.permit is not None
        return ("tried", 0.0001) if trial else ("passed", -1.0)

    async def _act(self) -> str:
        if self._probe == "hang":
            await self.let_go.wait()
        else:
            await asyncio.sleep(self._chance.choice([0, 0.001, 0.01]))
        return "f" if self._probe == "fail" else "s"

    async def _until_over(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return


class Member:
    """The breakers of this process, by name, and what they are busy with."""

    def __init__(self, url: str, journal: str) -> None:
        self._journal = open_journal(journal)
        self._store = RecordingStore(open_state_store(url, "stampede"), self._journal, os.getpid())
        self._breakers: dict[str, CircuitBreaker] = {}
        self._storm: Storm | None = None
        self._stream: asyncio.Task[None] | None = None
        self._flowing = False
        self._held: list[asyncio.Task[None]] = []
        self._let_go: asyncio.Future[str] | None = None
        self._running = 0

    async def obey(self, do: str, **more: Any) -> Any:
        return await getattr(self, f"do_{do}")(**more)

    async def aclose(self) -> None:
        for breaker in self._breakers.values():
            await breaker.aclose()
        await self._store.aclose()
        self._journal.close()

    async def call(self, name: str, call: Call, act: Any) -> None:
        """Call the breaker, and write down what the call itself sees."""
        current.set(call)
        breaker = self._breakers[name]

        async def work() -> None:
            about = self._about(breaker, call)
            self._journal.append("begin", name, os.getpid(), **about)
            code = "i"
            try:
                code = await act()
            finally:
                self._journal.append("end", name, os.getpid(), code=code, **about)
            if code == "f":
                raise Broken

        await breaker.call(work)

    def _about(self, breaker: CircuitBreaker, call: Call) -> dict[str, Any]:
        admission = call.admission
        if admission is None:
            return {"permit": None, "gen": breaker.get_state().generation}
        return {"permit": admission.permit, "gen": admission.generation, "deadline": admission.deadline_us}

    # Commands

    async def do_join(
        self, name: str, policy: dict[str, Any], residence: str = "resident", pace: dict[str, float] | None = None
    ) -> str:
        """Have a new breaker of that name, as a process that has just started would."""
        if name in self._breakers:
            await self._breakers.pop(name).aclose()
        breaker = CircuitBreaker(
            name,
            BreakerPolicy(**policy),
            store=self._store,
            residence=residence,  # type: ignore[arg-type]  # the test's
            pace=Pace(**(pace or {})),
            on_event=self._tell,
        )
        await breaker.refresh()
        self._breakers[name] = breaker
        return "joined"

    def _tell(self, event: Event) -> None:
        self._journal.append("event", str(event.fields["breaker"]), os.getpid(), event=event.name)

    async def do_storm(self, name: str, callers: int, probe: str, cancel: float, seed: int) -> str:
        await self._breakers[name].refresh()
        self._storm = Storm(self, name, callers=callers, probe=probe, cancel=cancel, seed=seed)
        return "storming"

    async def do_go(self) -> str:
        assert self._storm is not None
        self._storm.let_go.set()
        return "gone"

    async def do_calm(self) -> dict[str, int]:
        assert self._storm is not None
        return await self._storm.calm()

    async def do_run(self, name: str, codes: str) -> str:
        """Calls one after the other, whose failures are stored when it returns; successes may still wait."""
        for code in codes:
            await self._end_of(name, code)
            if code == "f":
                await self._quiet()
        return self._breakers[name].get_state().state

    async def do_flow(self, name: str, pattern: str) -> str:
        """Calls without end, one after the other, that end as the pattern says; not written down."""
        self._flowing = True
        self._stream = asyncio.ensure_future(self._flow(self._breakers[name], pattern))
        return "flowing"

    async def do_ebb(self) -> str:
        self._flowing = False
        assert self._stream is not None
        await self._stream
        await self._quiet()
        return "ebbed"

    async def _flow(self, breaker: CircuitBreaker, pattern: str) -> None:
        async def act(code: str) -> None:
            await asyncio.sleep(0)
            if code == "f":
                raise Broken

        while self._flowing:
            for code in pattern:
                try:
                    await breaker.call(act, code)
                except Broken:
                    continue
                except BreakerOpen:
                    await asyncio.sleep(0.001)

    async def do_work(self, name: str) -> str:
        return await self._end_of(name, "s")

    async def do_hold(self, name: str, count: int) -> int:
        """Begin calls that wait to be let go; how many of them were let in."""
        if self._let_go is None:
            self._let_go = asyncio.get_running_loop().create_future()
        wanted = self._running + count
        held = [asyncio.ensure_future(self._hold(name, self._let_go)) for _ in range(count)]
        self._held += held
        while self._running < wanted and not all(task.done() for task in held):  # noqa: ASYNC110 - several conditions
            await asyncio.sleep(0.001)
        return self._running

    async def do_release(self, code: str) -> int:
        """Let all held calls end so; "i": cancel them. How many there were, once their ends are told."""
        held, self._held = self._held, []
        running = self._running
        if code == "i":
            for task in held:
                task.cancel()
        elif self._let_go is not None:
            self._let_go.set_result(code)
        self._let_go = None
        await asyncio.gather(*held, return_exceptions=True)
        await self._quiet()
        return running

    async def do_look(self, name: str) -> dict[str, Any]:
        return asdict(await self._breakers[name].refresh())

    async def do_stored(self, name: str) -> dict[str, Any]:
        """What the store holds."""
        state, now = await self._store.read(f"breaker/{name}")
        return {"state": state, "now": now}

    async def do_know(self, name: str) -> dict[str, Any]:
        return asdict(self._breakers[name].get_state())

    async def do_reset(self, name: str) -> str:
        await self._breakers[name].reset()
        return "reset"

    async def do_wait(self, name: str, state: str) -> str:
        """Until this process has heard of it."""
        breaker = self._breakers[name]
        async with asyncio.timeout(PATIENCE_S):
            while breaker.get_state().state != state:  # noqa: ASYNC110 - a breaker tells of its own transitions alone
                await asyncio.sleep(0.001)
        return state

    async def _hold(self, name: str, let_go: asyncio.Future[str]) -> None:
        async def act() -> str:
            self._running += 1
            try:
                return await asyncio.shield(let_go)
            finally:
                self._running -= 1

        try:
            await self.call(name, Call(), act)
        except (Broken, BreakerOpen):
            return

    async def _end_of(self, name: str, code: str) -> str:
        async def act() -> str:
            return code

        try:
            await self.call(name, Call(), act)
        except BreakerOpen as refused:
            return f"refused {refused.state}"
        except Broken:
            return "failed"
        return "done"

    async def _quiet(self) -> None:
        """A failure is due at once: it is under way after a turn of the loop, if it is told at all."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        while self._store.under_way:  # noqa: ASYNC110 - the store counts
            await asyncio.sleep(0.001)


async def main(url: str, journal: str) -> None:
    member = Member(url, journal)
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, "")

    threading.Thread(target=read, daemon=True).start()
    say("ready")
    while line := await lines.get():
        say(await member.obey(**json.loads(line)))
    await member.aclose()


def say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
