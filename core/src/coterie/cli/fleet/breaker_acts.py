"""Force and reset a fleet's circuit breakers by hand."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

from rich.text import Text

from coterie._rules.breaker import Forced, force, reset
from coterie._rules.breaker_policy import CHANCES, BreakerPolicy
from coterie._rules.decided import Decided, Operation, Signal, State
from coterie._rules.pool import suspend
from coterie.breaker.note import forget_note
from coterie.cli.fleet.acting import Done, act, no_such
from coterie.cli.fleet.breakers import BreakerRow, breaker_row
from coterie.cli.fleet.drawing import state_text
from coterie.cli.fleet.known import Known
from coterie.cli.fleet.pools import suspended_agents, terms_of
from coterie.cli.fleet.reach import Reach
from coterie.cli.fleet.snapshot import names_of
from coterie.ids import check_name
from coterie.pool.lane import KEEP_S
from coterie.ports import StateStore

__all__ = ["Demand", "turn_breaker"]

Demand: TypeAlias = Forced | Literal["reset", "forget"]


class _Turned(NamedTuple):
    """before: None where nothing was stored of the breaker."""

    before: BreakerRow | None
    after: BreakerRow


def turn_breaker(reach: Reach, name: str, demand: Demand, *, new: bool, as_json: bool) -> int:
    """Put a breaker into a state, for the whole fleet, and say which it was in.

    Nothing is stored of one that has had no failure. It is taken all the same if the team has it; without a team, if
    it is to be `new`. Where it lets calls pass again, the pools that suspended its agents pick them at once.

    Raises:
        Misuse: there is no such breaker.
    """
    check_name(name, "the circuit breaker")

    def begins(known: Known) -> bool:
        return _may_begin(known, name, demand, new=new)

    return act(reach, partial(_turn, name=name, demand=demand, new=new), begins=begins, as_json=as_json)


def _may_begin(known: Known, name: str, demand: Demand, *, new: bool) -> bool:
    return demand != "forget" and (new if known.team is None else name in known.breakers)


async def _turn(store: StateStore, known: Known, *, name: str, demand: Demand, new: bool) -> Done:
    policy, begins = known.breaker(name), _may_begin(known, name, demand, new=new)
    turned = await store.update(
        f"breaker/{name}", partial(_decide, name, policy, _operation(name, policy, demand), begins)
    )
    if turned is None:
        stored = await names_of(store, "breakers")
        there = stored if demand == "forget" else {*stored, *known.breakers}
        raise no_such("circuit breaker", name, store, there, then=_advice(known, demand))
    if demand == "forget":
        await forget_note(store, name)
    lifted = await _lift(store, known, name) if turned.after.state not in ("open", "forced_open") else []
    was = Text("not stored yet") if turned.before is None else state_text(turned.before.state)
    now = Text("forgotten") if demand == "forget" else state_text(turned.after.state)
    lines = [Text.assemble(f"{name}: ", now, " (was ", was, ")")]
    if turned.before is None and known.team is None:
        lines.append(Text(f"check the name: until somebody uses it, 'coterie breakers forget {name}' takes it back"))
    lines += [Text(f"the pool {agent_type} picks {agent_id} again") for agent_type, agent_id in lifted]
    document = {
        "breaker": name,
        "before": None if turned.before is None else turned.before.document(),
        "after": None if demand == "forget" else turned.after.document(),
        "picked_again": [{"agent_type": agent_type, "agent_id": agent_id} for agent_type, agent_id in lifted],
    }
    return Done(document, lines)


def _advice(known: Known, demand: Demand) -> str:
    if demand == "forget":
        return "nothing is stored by that name that could be forgotten"
    if known.team is not None:
        return f"correct the name, or see that the team {known.team!r} is the one that has it"
    return (
        "one is stored from its first failure on: name the team that has it with --team, or, if you are sure of the "
        "name, use 'coterie breakers open --new' and the like"
    )


def _operation(name: str, policy: BreakerPolicy | None, demand: Demand) -> Operation[Any]:
    if demand == "forget":
        return _forgotten(name)
    # None of these demands rests for the policy's times; it is asked for by the rule all the same.
    policy = policy or BreakerPolicy()
    if demand == "reset":
        return reset(name, policy)
    return force(name, policy, to=demand, chance=secrets.randbelow(CHANCES))


def _forgotten(name: str) -> Operation[Any]:
    """Remove what is stored: who uses it hears no state that can be read, looks, and begins anew."""
    signal = Signal(f"breaker/{name}", "forgotten")
    return Operation("breaker.forget", (), lambda *_: Decided(None, None, (signal,)), lambda _: None)


def _decide(  # noqa: PLR0917  # filled in by places, but for the last two
    name: str,
    policy: BreakerPolicy | None,
    operation: Operation[Any],
    begins: bool,  # noqa: FBT001
    state: State | None,
    now: int,
) -> Decided[_Turned | None]:
    """See what is there and change it, in one decision. Where nothing is there, nothing changes, unless it `begins`."""
    if state is None and not begins:
        return Decided(state, None)
    before = None if state is None else breaker_row(name, policy, state, now)
    decided = operation(state, now)
    after = breaker_row(name, policy, decided.state, now)
    return Decided(decided.state, _Turned(before, after), decided.signals)


async def _lift(store: StateStore, known: Known, name: str) -> list[tuple[str, str]]:
    """End the suspension of the agents that the breaker may stand for: of that id, or all of a type of that name.

    Also of those that are gone for now, as where every task has a process of its own. One too many is suspended again
    by its own breaker.
    """
    lifted = []
    for agent_type in await names_of(store, "pools"):
        key, policy = f"pool/{agent_type}", known.pool(agent_type)
        for agent_id in suspended_agents(agent_type, policy, *await store.read(key)):
            if name in (agent_id, agent_type):
                chance = secrets.randbelow(CHANCES)
                # An agent that is over is dropped by it, and its suspension with it.
                await store.update(
                    key, suspend(terms_of(agent_type, policy), agent_id, 0, chance=chance), keep_s=KEEP_S
                )
                lifted.append((agent_type, agent_id))
    return lifted
