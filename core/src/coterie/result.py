"""How tasks and runs ended: the same values on every engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from coterie._json import JsonValue
from coterie._rules.redaction import redacted
from coterie._rules.status import EXIT_CODES, run_status
from coterie._secrets import known
from coterie.errors import Misuse, RemoteFailed, StepFailed
from coterie.ids import AgentId, ItemKey, RunStatus, TaskId, TaskState, WorkflowId, content_hash
from coterie.markdown import harmless
from coterie.ref import Ref

__all__ = ["ErrorInfo", "ItemCounts", "ItemResult", "TaskResult", "WorkflowResult", "output_hash"]

MAX_MESSAGE_CHARS = 300


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as data: its class's name and its message, at most 300 characters; what looks like a credential, or is a
    secret of this process's environment, is left out.
    """

    type: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> ErrorInfo:
        """Describe an exception; of what failed at a worker, that."""
        kind, text = type(error).__name__, _told(error)
        if isinstance(error, RemoteFailed):
            kind, text = error.error_type, error.error_message
        # Of a long one, no more is looked at than could be kept.
        text = redacted(text[: 10 * MAX_MESSAGE_CHARS], known())
        return cls(
            kind,
            text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…",
        )

    def __str__(self) -> str:
        # For people: what an agent's error says must not act on their terminals.
        return harmless(f"{self.type}: {self.message}")


def _told(error: BaseException) -> str:
    """What an exception says of itself, as text that can be stored: some hold halves of characters, some cannot say."""
    try:
        text = str(error) or repr(error)
    # Its own code is run, which may raise anything.
    except Exception as failure:  # noqa: BLE001
        text = f"it could not be told: {type(failure).__name__}"
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class ItemCounts:
    """Of a foreach: how many items it had and how many of them failed."""

    total: int
    failed: int


@dataclass(frozen=True, slots=True)
class ItemResult:
    """How one item of a foreach ended. `index` is its place in the list, from 0."""

    key: ItemKey
    index: int
    state: TaskState
    output: JsonValue | Ref = None
    error: ErrorInfo | None = None
    attempts: int = 1

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that item documents hold."""
        document: dict[str, Any] = {"key": self.key, "index": self.index, "state": self.state}
        if self.state == "succeeded":
            document["output"] = output_to_dict(self.output)
        if self.error is not None:
            document["error"] = {"type": self.error.type, "message": self.error.message}
        if self.attempts != 1:
            document["attempts"] = self.attempts
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> ItemResult:
        """Read the form that `to_dict` writes."""
        error = document.get("error")
        return cls(
            document["key"],
            document["index"],
            document["state"],
            output_from_dict(document.get("output")),
            ErrorInfo(**error) if error else None,
            document.get("attempts", 1),
        )


@dataclass(frozen=True, slots=True)
class TaskResult:
    """How one task ended.

    output: the agent's return value as JSON; a `Ref` where the run has an artifact store.
    attempts: tries in this process, from 1; 0 if it never ran. agent_id: who ran it last.
    started_at: seconds since the epoch; duration_s: from the first start to the end, waiting included.
    items: counts of a foreach; failed_items: its items that failed, in order.
    replayed: whether this is how the work ended before, and nobody did it now.
    """

    task_id: TaskId
    state: TaskState
    output: JsonValue | Ref = None
    error: ErrorInfo | None = None
    attempts: int = 0
    agent_id: AgentId | None = None
    started_at: float | None = None
    duration_s: float = 0.0
    items: ItemCounts | None = None
    failed_items: tuple[ItemResult, ...] = ()
    item_results: tuple[ItemResult, ...] | None = field(default=None, repr=False, compare=False)
    replayed: bool = field(default=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that travels between processes: without the items, which lie behind `output`."""
        document: dict[str, Any] = {"task_id": self.task_id, "state": self.state}
        # A foreach that failed has its items behind the output too.
        if self.state == "succeeded" or self.items is not None:
            document["output"] = output_to_dict(self.output)
        if self.error is not None:
            document["error"] = {"type": self.error.type, "message": self.error.message}
        if self.items is not None:
            document["items"] = {"total": self.items.total, "failed": self.items.failed}
        for name in ("attempts", "agent_id", "started_at", "duration_s", "replayed"):
            if getattr(self, name):
                document[name] = getattr(self, name)
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> TaskResult:
        """Read the form that `to_dict` writes.

        Raises:
            Misuse: the document is not a task result.
        """
        try:
            error, items = document.get("error"), document.get("items")
            return cls(
                document["task_id"],
                document["state"],
                output_from_dict(document.get("output")),
                ErrorInfo(**error) if error else None,
                document.get("attempts", 0),
                document.get("agent_id"),
                document.get("started_at"),
                document.get("duration_s", 0.0),
                ItemCounts(**items) if items else None,
                replayed=document.get("replayed", False),
            )
        except (KeyError, TypeError, AttributeError) as problem:
            raise Misuse(f"not a task result: {problem!r}; pass what `TaskResult.to_dict` wrote") from problem

    def raise_for_state(self) -> None:
        """Do nothing if the task succeeded or was skipped.

        Raises:
            StepFailed: it failed, was blocked or cancelled; the message holds the agent's own.
        """
        if self.state not in ("succeeded", "skipped"):
            raise StepFailed(f"the task {self.task_id!r} ended {self.state}: {self.error or 'see its upstream tasks'}")

    def status_document(self) -> dict[str, Any]:
        """What the run-status JSON says of this task: no times, no places."""
        document: dict[str, Any] = {"id": self.task_id, "state": self.state, "attempts": self.attempts}
        if self.error is not None:
            document["error"] = {"type": self.error.type, "message": self.error.message}
        if isinstance(self.output, Ref):
            document["output"] = {"sha256": self.output.sha256, "size_bytes": self.output.size_bytes}
        if self.items is not None:
            failed = [{"key": item.key, "index": item.index, "error": str(item.error)} for item in self.failed_items]
            document["items"] = {"total": self.items.total, "failed": failed}
        return document


@dataclass(frozen=True, slots=True, repr=False)
class WorkflowResult:
    """How a run ended. `tasks` holds every task of the plan, in its order; `outputs` the plan's outputs."""

    workflow_id: WorkflowId
    plan_name: str
    plan_hash: str
    tasks: Mapping[TaskId, TaskResult]
    outputs: tuple[TaskId, ...]
    status: RunStatus
    started_at: float = 0.0
    duration_s: float = 0.0

    @classmethod
    def of(
        cls,
        workflow_id: WorkflowId,
        plan_name: str,
        plan_hash: str,
        tasks: Mapping[TaskId, TaskResult],
        outputs: tuple[TaskId, ...],
        *,
        started_at: float = 0.0,
        duration_s: float = 0.0,
    ) -> WorkflowResult:
        """Build the result of a run from its tasks' results."""
        states = [result.state for result in tasks.values()]
        status = run_status(states, [tasks[name].state for name in outputs])
        return cls(workflow_id, plan_name, plan_hash, tasks, outputs, status, started_at, duration_s)

    def __repr__(self) -> str:
        # Short on purpose: `asyncio.run` makes the representation of what it returns, wanted or not.
        return (
            f"WorkflowResult({self.plan_name!r}, {self.status!r}, workflow_id={self.workflow_id!r}, "
            f"{len(self.tasks)} tasks)"
        )

    def __getitem__(self, task_id: TaskId) -> TaskResult:
        try:
            return self.tasks[task_id]
        except KeyError:
            raise Misuse(f"the run has no task {task_id!r}; it has: {', '.join(list(self.tasks)[:20])}") from None

    def __iter__(self) -> Iterator[TaskResult]:
        return iter(self.tasks.values())

    @property
    def exit_code(self) -> int:
        """0 succeeded, 3 partial, 1 failed, 130 cancelled."""
        return EXIT_CODES[self.status]

    @property
    def failures(self) -> tuple[TaskResult, ...]:
        """The tasks that failed themselves, in the plan's order (not those that their failure blocked)."""
        return tuple(result for result in self if result.state == "failed")

    def raise_for_status(self) -> None:
        """Do nothing if the run succeeded.

        Raises:
            ExceptionGroup: one `StepFailed` for each task that failed.
        """
        if self.status != "succeeded":
            errors = [StepFailed(f"{r.task_id!r}: {r.error}") for r in self.failures]
            message = f"the run {self.workflow_id!r} of {self.plan_name!r} ended {self.status}"
            raise ExceptionGroup(message, errors or [StepFailed(message)])

    def status_document(self) -> dict[str, Any]:
        """The run-status JSON: equal on every engine for equal work. No times, engines or places."""
        return {
            "schema": 1,
            "plan": {"name": self.plan_name, "hash": self.plan_hash},
            "status": self.status,
            "outputs": list(self.outputs),
            "tasks": [result.status_document() for result in self],
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON; `from_dict` reads it back."""
        return {
            "workflow_id": self.workflow_id,
            "plan": {"name": self.plan_name, "hash": self.plan_hash},
            "status": self.status,
            "outputs": list(self.outputs),
            "started_at": self.started_at,
            "duration_s": self.duration_s,
            "tasks": [_with_failed_items(result) for result in self],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> WorkflowResult:
        """Read the form that `to_dict` writes.

        Raises:
            Misuse: the document is not a workflow result.
        """
        try:
            tasks = [_from_failed_items(entry) for entry in document["tasks"]]
            return cls(
                document["workflow_id"],
                document["plan"]["name"],
                document["plan"]["hash"],
                {result.task_id: result for result in tasks},
                tuple(document["outputs"]),
                document["status"],
                document["started_at"],
                document["duration_s"],
            )
        except (KeyError, TypeError, AttributeError) as problem:
            raise Misuse(f"not a workflow result: {problem!r}; pass what `WorkflowResult.to_dict` wrote") from problem


def output_to_dict(output: JsonValue | Ref) -> dict[str, Any]:
    """An output's JSON form: `{"ref": …}` or `{"value": …}`."""
    return {"ref": output.serialize()} if isinstance(output, Ref) else {"value": output}


def output_from_dict(document: Mapping[str, Any] | None) -> JsonValue | Ref:
    """Read the form that `output_to_dict` writes."""
    if not document:
        return None
    if "ref" in document:
        return Ref.deserialize(document["ref"])
    value: JsonValue = document["value"]
    return value


def output_hash(result: TaskResult) -> str | None:
    """SHA-256 of an output's canonical bytes, wherever they lie; None where there is none."""
    if result.state != "succeeded":
        return None
    if result.item_results is not None and not isinstance(result.output, Ref):
        return content_hash([item.to_dict() for item in result.item_results])
    return result.output.sha256 if isinstance(result.output, Ref) else content_hash(result.output)


def _with_failed_items(result: TaskResult) -> dict[str, Any]:
    document = result.to_dict()
    if result.failed_items:
        document["failed_items"] = [item.to_dict() for item in result.failed_items]
    return document


def _from_failed_items(document: Mapping[str, Any]) -> TaskResult:
    failed = tuple(ItemResult.from_dict(item) for item in document.get("failed_items", ()))
    return replace(TaskResult.from_dict(document), failed_items=failed)
