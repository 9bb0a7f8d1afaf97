"""A plan: a validated acyclic graph of tasks, the same for every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from coterie._json import MAX_DEPTH, JsonValue, canonical_bytes, content_shape, require_json
from coterie._rules.params import bind_params, param_names
from coterie._rules.plan import Graph, build_graph, resolve_outputs
from coterie._rules.saga_policy import SagaPolicy
from coterie.errors import Misuse, PlanError
from coterie.ids import TaskId, check_name
from coterie.task import Task

__all__ = ["Plan"]

MAX_PLAN_BYTES = 64 * 2**20
MAX_PLAN_VALUES = 5_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Tasks and what they wait for, checked on construction.

    name: of the plan; part of nothing's identity but its hash.
    tasks: in any order; a sequence of `Task`.
    params: the run parameters and their defaults, a JSON object.
    outputs: the ids whose success makes a run at least partial; by default the leaves.
    saga: when what was done is undone, by the tasks' compensations; by default when any task failed.

    Raises:
        PlanError: CycleFound (the path is in the message), DuplicateTask, UnknownDependency, no tasks,
            or an input that refers to an undeclared parameter.
    """

    name: str
    tasks: tuple[Task, ...]
    params: Mapping[str, JsonValue] = field(default_factory=dict, kw_only=True)
    outputs: tuple[TaskId, ...] | None = field(default=None, kw_only=True)
    saga: SagaPolicy = field(default_factory=SagaPolicy, kw_only=True)
    _graph: Graph = field(init=False, repr=False, compare=False)
    _canonical: str = field(init=False, repr=False, compare=False, default="")
    _hash: str = field(init=False, repr=False, compare=False, default="")

    def __init__(
        self,
        name: str,
        tasks: Iterable[Task],
        *,
        params: Mapping[str, JsonValue] | None = None,
        outputs: Iterable[TaskId] | None = None,
        saga: SagaPolicy | None = None,
    ) -> None:
        check_name(name, "plan name")
        every = tuple(tasks)
        if not every:
            raise PlanError(f"the plan {name!r} has no tasks; give it at least one")
        for task in every:
            if not isinstance(task, Task):
                raise PlanError(
                    f"the plan {name!r} holds {str(task)[:200]!r}, which is no Task; use Plan.from_dict for documents"
                )
        graph = build_graph(every)
        set_ = object.__setattr__
        set_(self, "name", name)
        set_(self, "tasks", every)
        set_(self, "params", require_json(dict(params or {}), "params"))
        set_(self, "outputs", resolve_outputs(outputs, graph))
        set_(self, "saga", _policy(saga))
        set_(self, "_graph", graph)
        set_(self, "_canonical", "")
        set_(self, "_hash", "")
        self._check_params()
        self._check_compensations()

    @property
    def graph(self) -> Graph:
        """The tasks by position, with their edges."""
        return self._graph

    @property
    def leaves(self) -> tuple[TaskId, ...]:
        """The tasks that nobody waits for."""
        return self._graph.leaves

    @property
    def output_ids(self) -> tuple[TaskId, ...]:
        """The declared outputs, or the leaves."""
        return self.outputs or self.leaves

    @property
    def has_compensations(self) -> bool:
        """Whether anything is undone if a run of the plan fails."""
        return any(task.compensation is not None for task in self.tasks)

    @property
    def canonical(self) -> str:
        """The one text of the plan as JSON: of `to_dict`, keys sorted, no spaces."""
        if not self._canonical:
            object.__setattr__(self, "_canonical", canonical_bytes(self.to_dict()).decode())
        return self._canonical

    @property
    def hash(self) -> str:
        """SHA-256 of the plan's canonical JSON: its version."""
        if not self._hash:
            object.__setattr__(self, "_hash", sha256(self.canonical.encode()).hexdigest())
        return self._hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def task(self, task_id: TaskId) -> Task:
        """The task of that id.

        Raises:
            Misuse: the plan has no such task.
        """
        try:
            return self.tasks[self._graph.position[task_id]]
        except KeyError:
            known = ", ".join(list(self._graph.ids[:20]))
            raise Misuse(f"the plan {self.name!r} has no task {task_id!r}; it has: {known}") from None

    def bind(self, given: Mapping[str, object] | None) -> dict[str, JsonValue]:
        """The parameters of one run: the plan's, overridden by those given.

        Raises:
            Misuse: a parameter that the plan does not declare, or a value that is not JSON.
        """
        return bind_params(self.params, given)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON, without the fields that have their default value."""
        from coterie._plan_format import plan_to_dict

        return plan_to_dict(self)

    def to_json(self) -> str:
        """The plan as indented JSON."""
        import json

        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def to_yaml(self) -> str:
        """The plan as YAML."""
        from coterie._yaml import dump_yaml

        return dump_yaml(self.to_dict())

    def to_mermaid(self) -> str:
        """The plan as a Mermaid flow chart."""
        from coterie._plan_format import plan_to_mermaid

        return plan_to_mermaid(self)

    @classmethod
    def from_dict(cls, document: object) -> Plan:
        """Build a plan from its JSON form.

        Raises:
            PlanError: names the place in the document that is wrong; and all that `Plan(...)` raises.
        """
        from coterie._plan_format import plan_from_dict

        values, depth = content_shape(document, MAX_PLAN_VALUES)
        if depth > MAX_DEPTH:
            raise PlanError(f"the plan is nested more than {MAX_DEPTH} deep; flatten it")
        if values > MAX_PLAN_VALUES:
            raise PlanError(f"the plan holds more than {MAX_PLAN_VALUES} values; split it")
        return plan_from_dict(document)

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Build a plan from JSON text. Raises PlanError, naming the line where the text breaks off."""
        from coterie._plan_format import load_json

        return cls._parse(text, load_json)

    @classmethod
    def from_yaml(cls, text: str | bytes) -> Plan:
        """Build a plan from YAML text (safe subset: no tags, no objects). Raises PlanError, naming line and column."""
        from coterie._yaml import load_yaml

        return cls._parse(
            text, lambda source: load_yaml(source, what="the plan", error=PlanError, max_values=MAX_PLAN_VALUES)
        )

    @classmethod
    def from_file(cls, path: str | Path) -> Plan:
        """Read a plan from a `.json`, `.yaml` or `.yml` file of at most 64 MiB. Whatever is wrong names the file."""
        source = Path(path)
        try:
            # One byte more than allowed tells, whatever size the file says it has (a device says 0).
            with source.open("rb") as file:
                text = file.read(MAX_PLAN_BYTES + 1)
        except (OSError, ValueError) as error:
            raise PlanError(f"cannot read the plan file {str(path)!r}: {error}; check the path") from error
        if len(text) > MAX_PLAN_BYTES:
            raise PlanError(f"the plan file {str(path)!r} has more than {MAX_PLAN_BYTES} bytes; split the plan")
        try:
            return cls.from_json(text) if source.suffix == ".json" else cls.from_yaml(text)
        except Misuse as error:
            # The same error, of the same class and with what it carries.
            error.args = (f"plan {str(path)!r}: {error}",)
            raise

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """The JSON Schema of a plan document."""
        from coterie._plan_format import plan_schema

        return plan_schema()

    @classmethod
    def _parse(cls, text: str | bytes, load: Callable[[str | bytes], object]) -> Plan:
        if len(text) > MAX_PLAN_BYTES:
            raise PlanError(f"the plan text has {len(text)} characters; at most {MAX_PLAN_BYTES} are read")
        document = load(text) if text.strip() else None
        if document is None:
            raise PlanError("the plan is empty; give it a name and tasks")
        return cls.from_dict(document)

    def _check_params(self) -> None:
        for task in self.tasks:
            if task.input:
                self._check_input(task.input, f"the input of {task.id!r}")
            if task.compensation is not None:
                self._check_input(task.compensation.input, f"the input of the compensation of {task.id!r}")

    def _check_compensations(self) -> None:
        for task in self.tasks:
            if task.compensation is not None and task.undo_id in self._graph.position:
                raise PlanError(
                    f"the compensation of {task.id!r} is called {task.undo_id!r}, as is a task of the plan; "
                    "rename that task"
                )

    def _check_input(self, given: Mapping[str, JsonValue], what: str) -> None:
        for name in sorted(param_names(dict(given)) - self.params.keys()):
            raise PlanError(
                f"{what} refers to the parameter {name!r}, which the plan does not declare; "
                "add it to params with its default"
            )


def _policy(saga: object) -> SagaPolicy:
    if saga is None:
        return SagaPolicy()
    if not isinstance(saga, SagaPolicy):
        raise Misuse(f"saga is {saga!r:.200}; pass coterie.SagaPolicy")
    return saga
