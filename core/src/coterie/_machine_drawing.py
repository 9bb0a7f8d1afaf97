"""A state machine as a Mermaid state diagram."""

from __future__ import annotations

import re
from collections.abc import Iterator

from coterie._json import canonical_bytes
from coterie.machine import StateMachine
from coterie.state import Go, Guard, State

__all__ = ["machine_to_mermaid"]

# Everything else means something to Mermaid, or may one day.
_PLAIN = re.compile(r"[^A-Za-z0-9_ ,./()'?!+*-]")
_SHOWN = 40
_SIGNS = {"eq": "=", "ne": "≠", "lt": "<", "le": "≤", "gt": ">", "ge": "≥"}
_CURRENT = "classDef current fill:#ffe8a3,stroke:#b58105,stroke-width:3px,color:#000"


def machine_to_mermaid(machine: StateMachine, *, current: str | None) -> str:
    """One box a state, labelled with its name, its action's agent type and its bounds; one arrow a transition."""
    number = {state.name: f"s{i}" for i, state in enumerate(machine.states)}
    lines = ["stateDiagram-v2", f"    [*] --> {number[machine.initial]}"]
    lines += [f'    state "{_label(state)}" as {number[state.name]}' for state in machine.states]
    for state in machine.states:
        lines += [f"    {number[state.name]} --> {number[go.to]} : {_trigger(state, go)}" for go in state.transitions]
        if state.final:
            lines.append(f"    {number[state.name]} --> [*] : {state.final}")
    if current is not None:
        lines += [f"    {_CURRENT}", f"    class {number[current]} current"]
    return "\n".join(lines) + "\n"


def _label(state: State) -> str:
    parts = [_escaped(state.name)]
    if state.action is not None:
        parts.append(f"<i>{_escaped(state.action.agent_type)}</i>")
    if state.max_visits is not None:
        parts.append(_escaped(f"at most {state.max_visits} times"))
    return "<br/>".join(parts)


def _trigger(state: State, go: Go) -> str:
    trigger = f"timeout after {state.timeout_s:g} s" if go.trigger == "timeout" else go.trigger
    guards = ", ".join(_guard(guard) for guard in go.when)
    return f"{_escaped(trigger)} [{guards}]" if guards else _escaped(trigger)


def _guard(guard: Guard) -> str:
    asked = guard.pointer or "it"
    if guard.op == "exists":
        return _escaped(f"{asked} exists")
    value = canonical_bytes(guard.value).decode()
    shown = value if len(value) <= _SHOWN else f"{value[: _SHOWN - 1]}…"
    return _escaped(f"{asked} {_SIGNS.get(guard.op, guard.op)} {shown}")


def _escaped(text: str) -> str:
    return "".join(_letters(text))


def _letters(text: str) -> Iterator[str]:
    for letter in text:
        yield f"#{ord(letter)};" if _PLAIN.match(letter) else letter
