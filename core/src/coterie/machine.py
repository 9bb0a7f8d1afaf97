"""A state machine: named states, the transitions between them, and what is done in each; checked, and drawable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coterie._json import MAX_DEPTH, JsonValue, content_shape, require_json
from coterie._rules.machine_input import check_references
from coterie._rules.machine_table import Table, build_table
from coterie._rules.params import bind_params, param_names
from coterie.errors import MachineError, Misuse
from coterie.ids import AgentType, check_name, content_hash
from coterie.state import State

__all__ = ["StateMachine"]

# What a journal keeps of a run in one text.
MAX_MACHINE_BYTES = 2 * 2**20
MAX_MACHINE_VALUES = 200_000


@dataclass(frozen=True, slots=True)
class StateMachine:
    """States and what leads from one to another, checked on construction.

    name: of the machine. states: in any order. initial: the name of the state in which a machine begins.
    params: the run parameters and their defaults, a JSON object.
    max_steps: how many transitions a machine may take in all; then it fails. Needed where a loop has no other bound.

    Raises:
        MachineError: an unknown target or initial state, states that are never reached, or from which no final state
            is, a loop without a bound (the path is in the message), an input that refers to what there never is.
    """

    name: str
    states: tuple[State, ...]
    initial: str = field(kw_only=True)
    params: Mapping[str, JsonValue] = field(default_factory=dict, kw_only=True)
    max_steps: int | None = field(default=None, kw_only=True)
    _table: Table = field(init=False, repr=False, compare=False)
    _hash: str = field(init=False, repr=False, compare=False, default="")

    def __init__(
        self,
        name: str,
        states: Iterable[State],
        *,
        initial: str,
        params: Mapping[str, JsonValue] | None = None,
        max_steps: int | None = None,
    ) -> None:
        check_name(name, "the machine name")
        every = tuple(states)
        for state in every:
            if not isinstance(state, State):
                raise MachineError(
                    f"the machine {name!r} holds {str(state)[:200]!r}, which is no State; "
                    "use StateMachine.from_dict for documents"
                )
        set_ = object.__setattr__
        set_(self, "name", name)
        set_(self, "states", every)
        set_(self, "initial", initial)
        set_(self, "params", require_json(dict(params or {}), "params"))
        set_(self, "max_steps", max_steps)
        set_(self, "_table", build_table(name, every, initial, max_steps))
        set_(self, "_hash", "")
        self._check_inputs()

    @property
    def table(self) -> Table:
        """Every transition, as the rule reads them."""
        return self._table

    @property
    def hash(self) -> str:
        """SHA-256 of the machine's canonical JSON: its version."""
        if not self._hash:
            object.__setattr__(self, "_hash", content_hash(self.to_dict()))
        return self._hash

    @property
    def agent_types(self) -> tuple[AgentType, ...]:
        """The types that its actions ask for, each once."""
        return tuple(dict.fromkeys(state.action.agent_type for state in self.states if state.action is not None))

    def __hash__(self) -> int:
        return hash(self.hash)

    def state(self, name: str) -> State:
        """The state of that name.

        Raises:
            Misuse: the machine has none.
        """
        try:
            return self._table.states[name]
        except KeyError:
            known = ", ".join(list(self._table.states)[:20])
            raise Misuse(f"the machine {self.name!r} has no state {name!r}; it has: {known}") from None

    def bind(self, given: Mapping[str, object] | None) -> dict[str, JsonValue]:
        """The parameters of one run: the machine's, overridden by those given.

        Raises:
            Misuse: a parameter that the machine does not declare, or a value that is not JSON.
        """
        for name in given or {}:
            if name not in self.params:
                known = ", ".join(sorted(self.params)) or "none"
                raise Misuse(f"the machine {self.name!r} has no parameter {name!r}; it declares: {known}")
        return bind_params(self.params, given)

    def to_dict(self) -> dict[str, Any]:
        """The machine as JSON, without the fields that have their default value."""
        from coterie._machine_format import machine_to_dict

        return machine_to_dict(self)

    def to_json(self) -> str:
        """The machine as indented JSON."""
        import json

        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def to_yaml(self) -> str:
        """The machine as YAML."""
        from coterie._machine_format import machine_to_yaml

        return machine_to_yaml(self)

    def to_mermaid(self, *, current: str | None = None) -> str:
        """The machine as a Mermaid state diagram; the state `current` is marked.

        Raises:
            Misuse: the machine has no such state.
        """
        from coterie._machine_drawing import machine_to_mermaid

        return machine_to_mermaid(self, current=self.state(current).name if current is not None else None)

    @classmethod
    def from_dict(cls, document: object) -> StateMachine:
        """Build a machine from its JSON form.

        Raises:
            MachineError: names the place in the document that is wrong; and all that `StateMachine(...)` raises.
        """
        from coterie._machine_format import machine_from_dict

        values, depth = content_shape(document, MAX_MACHINE_VALUES)
        if depth > MAX_DEPTH:
            raise MachineError(f"the machine is nested more than {MAX_DEPTH} deep; flatten it")
        if values > MAX_MACHINE_VALUES:
            raise MachineError(f"the machine holds more than {MAX_MACHINE_VALUES} values; split it")
        return machine_from_dict(document)

    @classmethod
    def from_json(cls, text: str | bytes) -> StateMachine:
        """Build a machine from JSON text. Raises MachineError, naming the line where the text breaks off."""
        from coterie._machine_format import KIND

        return cls._parse(text, KIND.load_json)

    @classmethod
    def from_yaml(cls, text: str | bytes) -> StateMachine:
        """Build a machine from YAML text (no tags, no objects). Raises MachineError, naming line and column."""
        from coterie._machine_format import load_machine_yaml

        return cls._parse(text, load_machine_yaml)

    @classmethod
    def from_file(cls, path: str | Path) -> StateMachine:
        """Read a machine from a `.json`, `.yaml` or `.yml` file of at most 2 MiB. Whatever is wrong names the file."""
        source = Path(path)
        try:
            with source.open("rb") as file:
                text = file.read(MAX_MACHINE_BYTES + 1)
        except (OSError, ValueError) as error:
            raise MachineError(f"cannot read the machine file {str(path)!r}: {error}; check the path") from error
        try:
            return cls.from_json(text) if source.suffix == ".json" else cls.from_yaml(text)
        except Misuse as error:
            # The same error, of the same class and with what it carries.
            error.args = (f"machine {str(path)!r}: {error}",)
            raise

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """The JSON Schema of a machine document."""
        from coterie._machine_format import machine_schema

        return machine_schema()

    @classmethod
    def _parse(cls, text: str | bytes, load: Callable[[str | bytes], object]) -> StateMachine:
        if len(text) > MAX_MACHINE_BYTES:
            raise MachineError(
                f"the machine's text is over {MAX_MACHINE_BYTES} bytes, more than is read; split the machine"
            )
        document = load(text) if text.strip() else None
        if document is None:
            raise MachineError("the machine is empty; give it a name, states and the initial one")
        return cls.from_dict(document)

    def _check_inputs(self) -> None:
        acting = {state.name: state.action is not None for state in self.states}
        for state in self.states:
            if state.action is None or not state.action.input:
                continue
            for name in sorted(param_names(dict(state.action.input)) - self.params.keys()):
                raise MachineError(
                    f"the input of the state {state.name!r} refers to the parameter {name!r}, which the machine does "
                    "not declare; add it to params with its default"
                )
            check_references(state.name, state.action.input, acting)
