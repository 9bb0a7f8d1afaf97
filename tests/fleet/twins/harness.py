"""Runs a named operation through its Python rule and through its Lua twin on a real server, and compares.

    @given(st.lists(...))
    def test_the_twin_is_the_rule(runner, history):
        assert_twins(runner, [(operation, now), ...])

`runner` is a fixture of conftest.py. Steps share one key; `now` is whatever the test says, in microseconds since the
epoch, and may go back.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import redis

from coterie._json import JsonValue
from coterie._rules.decided import Operation, Signal, State
from coterie.stores.redis.scripts import Script, twin
from tests.support.redis_servers import Server

__all__ = ["FELL_BACK", "ScriptRunner", "Step", "assert_storable", "assert_twins", "run_rule"]

LARGEST = 10**14


@dataclass(frozen=True)
class Step:
    """What one operation came to. A state of None: none is stored afterwards."""

    state: State | None
    result: JsonValue
    signals: tuple[Signal, ...]

    def text(self) -> str:
        """Equal texts, equal steps: 1, 1.0 and True differ, the order of keys does not matter."""
        return json.dumps([self.state, self.result, self.signals], sort_keys=True)


# The script left the decision to the Python rule.
FELL_BACK = "fell back"


def run_rule(operation: Operation[Any], state: State | None, now: int) -> Step:
    """One step by the Python rule, as a store would take it: where nothing is written, nothing is told."""
    decided = operation.rule(state, now, *operation.args)
    told = () if decided.state is state else tuple(Signal(*signal) for signal in decided.signals)
    return Step(decided.state, decided.result, told)


class ScriptRunner:
    """Twins on a real server. Close it (or use it as a context manager).

    twins: finds the script of an operation's name; those of the package, if not given.
    """

    def __init__(self, server: Server, *, twins: Callable[[str], Script | None] = twin) -> None:
        self._twins = twins
        self._client = redis.Redis(host="127.0.0.1", port=server.port, decode_responses=True, socket_timeout=20)
        # Of its own, so that it hears no other runner.
        self._prefix = f"twins-{uuid.uuid4().hex}:"
        self._ear = self._client.pubsub()
        self._ear.psubscribe(f"{self._prefix}*")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._ear.close()
        self._client.close()

    def run(self, operation: Operation[Any], key: str, now: int | None, *, keep_ms: int | None = None) -> Step | str:
        """One step by the script, on what is stored at `key`; or `FELL_BACK`. now: None for the server's clock."""
        script = self._twins(operation.name)
        assert script is not None, f"there is no lua/{operation.name.replace('.', '_')}.lua"
        arguments = [
            "" if now is None else str(now),
            "" if keep_ms is None else str(keep_ms),
            self._prefix,
            *(json.dumps(argument) for argument in operation.args),
        ]
        # EVAL, as the text is: SCRIPT LOAD and EVALSHA are the store's affair.
        answer = self._client.eval(script.text.decode(), 1, key, *arguments)  # type: ignore[no-untyped-call]
        signals = self._heard()
        if isinstance(answer, list):
            assert signals == (), "a script that falls back tells nobody"
            return FELL_BACK
        return Step(self.stored(key), json.loads(answer), signals)

    def stored(self, key: str) -> State | None:
        raw = self._client.get(key)
        return None if raw is None else json.loads(raw)  # type: ignore[arg-type]

    def store(self, key: str, state: State | None) -> None:
        """Put a state there, as the Python rule's would be."""
        if state is None:
            self._client.delete(key)
        else:
            self._client.set(key, json.dumps(state))

    def _heard(self) -> tuple[Signal, ...]:
        """What was published since the last call: all that comes before a message of our own."""
        fence = uuid.uuid4().hex
        self._client.publish(f"{self._prefix}fence", fence)
        heard = []
        while True:
            message = self._ear.get_message(timeout=20.0)  # type: ignore[no-untyped-call]
            assert message is not None, "the fence was lost"
            if message["data"] == fence:
                return tuple(heard)
            if message["type"] == "pmessage":
                heard.append(Signal(message["channel"].removeprefix(self._prefix), message["data"]))


def assert_twins(
    runner: ScriptRunner, history: Iterable[tuple[Operation[Any], int]], *, may_fall_back: bool = False
) -> list[Step]:
    """Run a history both ways from nothing; states, results and signals must be equal after every step.

    may_fall_back: then the script may leave a step to the rule, whose state it goes on from; else that is a failure.

    Returns the steps, for the test to say more about.
    """
    key, state, steps = f"{{{uuid.uuid4().hex}}}", None, []
    try:
        for number, (operation, now) in enumerate(history):
            expected = run_rule(operation, state, now)
            assert_storable(expected.state)
            assert_storable(expected.result)
            got = runner.run(operation, key, now)
            at = f"step {number}, {operation.name}{operation.args!r} at {now}, from {json.dumps(state)}"
            if isinstance(got, str):
                assert may_fall_back, f"{at}: the script fell back"
                runner.store(key, expected.state)
            else:
                assert got.text() == expected.text(), f"{at}:\nscript {got}\nrule   {expected}"
            state = expected.state
            steps.append(expected)
    finally:
        runner.store(key, None)
    return steps


def assert_storable(value: object, where: str = "") -> None:
    """What Lua's JSON writes as Python's does: no floats, no number of 15 digits, no list that is empty."""
    assert not isinstance(value, float), f"{where} is a float: {value!r}"
    assert not isinstance(value, int) or abs(value) < LARGEST, f"{where} has over 14 digits: {value!r}"
    assert value != [] or not isinstance(value, list), f"{where} is an empty list, which Lua writes as an object"
    if isinstance(value, dict):
        for name, inner in value.items():
            assert_storable(inner, f"{where}/{name}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            assert_storable(inner, f"{where}/{number}")
