"""What is asked of a worker, as a document; and how a call stands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self, TypeAlias, get_args

from coterie._json import JsonValue, require_json
from coterie._plan_format import task_from_dict, task_to_dict
from coterie._rules.call_course import UNKNOWN, Course, course_of
from coterie._rules.call_record import CallPhase, CallRecord
from coterie._rules.lap import Lap
from coterie.context import Run, TaskContext
from coterie.errors import CoterieError, Misuse, NoReply
from coterie.ids import ItemKey, TaskId, WorkflowId, check_name, check_workflow_id, content_hash, item_name
from coterie.journal.intent import Intent
from coterie.journal.outage import Stretch
from coterie.ref import Ref
from coterie.remote.course import at_worker
from coterie.remote.outcome import Outcome, result_from_dict, result_to_dict
from coterie.result import TaskResult
from coterie.task import Task
from coterie.usage import Usage

__all__ = ["Call", "CallItem", "CallStatus", "Keeps"]

# Who records the end: the worker, in the run's own journal; or whoever asks, while the worker keeps the steps.
Keeps: TypeAlias = Literal["result", "steps"]

FORMAT = 1
PATIENCE_S = 3600.0
_LONGEST_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class CallItem:
    """One item of a foreach."""

    key: ItemKey
    index: int
    value: JsonValue = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One task that some worker is to perform.

    id: of the work, so that whoever asks for the same again joins the call that is there; see `id_of`.
    upstream: the results of the tasks before it. params: the run's.
    epoch, intent, place, instance: as of `Orchestrator.execute_task`.
    item: the one item of the task's foreach that is asked for; only where `keeps` is "steps".
    keeps: "result": the worker claims and records the work in the run's own journal, since nobody does meanwhile.
        "steps": who asks has claimed it, and records the end; the worker keeps its durable steps in a book of the call.
    idempotency_key: what the agent is given, with "steps".
    stores_outputs: whether outputs go to the artifact store, if the worker has one; else they come back as values.
    patience_s: for how long nobody may begin it before it is given up.
    correlation_id, causation_id, traceparent: of the events about it. submitted_by: for people.

    Raises:
        Misuse: names that cannot be, a person's task, an item with `keeps="result"`, a patience that is none.
    """

    id: str
    workflow_id: WorkflowId
    task: Task
    upstream: Mapping[TaskId, TaskResult] = field(default_factory=dict)
    params: Mapping[str, JsonValue] = field(default_factory=dict)
    epoch: int = 0
    instance: str | None = None
    item: CallItem | None = None
    keeps: Keeps = "result"
    idempotency_key: str | None = None
    intent: Intent = field(default_factory=Intent)
    place: str | None = None
    stores_outputs: bool = True
    patience_s: float = PATIENCE_S
    correlation_id: str = ""
    causation_id: str | None = None
    traceparent: str | None = None
    submitted_by: str = ""

    def __post_init__(self) -> None:
        check_name(self.id, "the id of a call")
        check_workflow_id(self.workflow_id)
        if self.task.approval is not None:
            raise Misuse(f"{self.task.id!r} asks a person, no worker; see Orchestrator.ask")
        if self.keeps not in get_args(Keeps):
            raise Misuse(f"the call of {self.task.id!r} has keeps={self.keeps!r}; use 'result' or 'steps'")
        if self.item is not None and (self.keeps == "result" or self.task.foreach is None):
            raise Misuse(f"the call of {self.task.id!r} is of one item; that needs a foreach, and keeps='steps'")
        if not 0 < self.patience_s <= _LONGEST_S:
            raise Misuse(
                f"the call of {self.task.id!r} has patience_s {self.patience_s!r}; give up to 30 days, in seconds"
            )
        if not self.correlation_id:
            object.__setattr__(self, "correlation_id", self.workflow_id)

    @property
    def agent_type(self) -> str:
        """Who is to perform it."""
        return self.task.agent_type

    @staticmethod
    def id_of(
        *,
        namespace: str,
        workflow_id: WorkflowId,
        task_id: TaskId,
        fingerprint: str,
        item_key: str | None = None,
        demand: int = 0,
        more: str = "",
    ) -> str:
        """The same for the same work, whoever asks for it.

        fingerprint: as of `TaskContext.fingerprint`. demand: of the `Intent`, or the epoch: a clear is another call.
        more: whatever else is to make it another one.
        """
        return content_hash([namespace, workflow_id, task_id, item_key, demand, fingerprint, more])[:40]

    @property
    def item_key(self) -> ItemKey | None:
        """Of an item of a foreach, whoever made it one."""
        return self.instance if self.item is None else self.item.key

    @property
    def named(self) -> str:
        """What logs call it: its task, and which item of it, if it is one."""
        return " ".join([self.task.id, *self.item_fields.values()])

    @property
    def item_fields(self) -> dict[str, str]:
        """`item`, as events have it; nothing where it is none."""
        key, index = self.item_key, 0 if self.item is None else self.item.index
        return {} if key is None else {"item": item_name(key, index)}

    @property
    def log_fields(self) -> dict[str, str | int]:
        """What records of its work carry, before an agent has it."""
        item = {} if self.item_key is None else {"item": self.item_key}
        given = {"run": self.workflow_id, "task": self.task.id, **item, "correlation_id": self.correlation_id}
        return {name: value for name, value in given.items() if value}

    @classmethod
    def of(
        cls,
        task: Task,
        *,
        namespace: str,
        workflow_id: WorkflowId,
        upstream: Mapping[TaskId, TaskResult] | None = None,
        params: Mapping[str, JsonValue] | None = None,
        version: str = "0",
        epoch: int = 0,
        intent: Intent | None = None,
        instance: str | None = None,
        item: CallItem | None = None,
        keeps: Keeps = "result",
        idempotency_key: str | None = None,
        place: str | None = None,
        stores_outputs: bool = True,
        patience_s: float = PATIENCE_S,
        correlation_id: str = "",
        causation_id: str | None = None,
        traceparent: str | None = None,
        submitted_by: str = "",
    ) -> Self:
        """The call of a task of a run, with the id that it has whoever asks.

        version: of the agents, as the team declares it. others: as of `Call`.
        """
        intent = intent or Intent()
        run = Run(workflow_id, namespace, params=dict(params or {}), results=upstream or {}, epoch=epoch)
        context = TaskContext(run, task, {})
        call_id = cls.id_of(
            namespace=namespace,
            workflow_id=workflow_id,
            task_id=task.id,
            fingerprint=context.fingerprint_of(task.agent_type, version),
            item_key=instance if item is None else item.key,
            demand=intent.demand,
            more=f"{epoch}:{intent.engine_run}:{intent.force or ''}:{int(intent.goes_on)}",
        )
        return cls(
            id=call_id,
            workflow_id=workflow_id,
            task=task,
            upstream=context.upstream,
            params=run.params,
            epoch=epoch,
            intent=intent,
            instance=instance,
            item=item,
            keeps=keeps,
            idempotency_key=idempotency_key,
            place=place,
            stores_outputs=stores_outputs,
            patience_s=patience_s,
            correlation_id=correlation_id,
            causation_id=causation_id,
            traceparent=traceparent,
            submitted_by=submitted_by,
        )

    def to_json(self) -> str:
        """The document."""
        document: dict[str, Any] = {"v": FORMAT, "task": task_to_dict(self.task), "intent": asdict(self.intent)}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name not in ("task", "intent", "upstream", "item") and value is not None:
                document[each.name] = value
        document["params"] = dict(self.params)
        document["upstream"] = [result_to_dict(result) for result in self.upstream.values()]
        if self.item is not None:
            document["item"] = asdict(self.item)
        require_json(document, f"the call of {self.task.id!r}")
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the document.

        Raises:
            Misuse: it is none, or is of a newer coterie; the message says what is wrong.
        """
        try:
            document = json.loads(text)
            version = document.pop("v")
            if version != FORMAT:
                raise Misuse(f"the call has format {version!r}, this coterie reads {FORMAT}; update the worker")
            task = task_from_dict(document.pop("task"))
            results = [result_from_dict(entry) for entry in document.pop("upstream", ())]
            item = document.pop("item", None)
            intent = Intent(**document.pop("intent", {}))
            return cls(
                task=task,
                upstream={result.task_id: result for result in results},
                item=None if item is None else CallItem(**item),
                intent=intent,
                **document,
            )
        except CoterieError:
            raise
        # Whatever else it may hold: nobody but coterie writes there.
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise Misuse(f"the text is no call of a task: {error!r:.300}; is the namespace ours alone?") from error


@dataclass(frozen=True, slots=True)
class CallStatus:
    """How a call stands.

    phase: queued, running, done, cancelled. worker: who performs it, or did last. attempt: grows each time that a
    worker begins it. result, usage: once it is done, unless `given_up` says why there is none: "abandoned", "late".
    reason: of that, or who has cancelled it. submitted_at, begun_at: seconds since the epoch; None: not yet.
    patience_s: for how long nobody may begin it. course: what it went through before that worker had it. laps, more:
    what it went through there, as of `Trail`; is_traced: whether that worker has made spans of it. unsaid: how long
    its end could not be recorded then, as the store was away; away: when it was before. joined: whose it was, where
    another's was submitted again.
    """

    id: str
    phase: CallPhase
    agent_type: str
    owner: str
    worker: str | None
    attempt: int
    result: TaskResult | None
    usage: Usage
    given_up: str
    reason: str
    submitted_at: float
    begun_at: float | None
    patience_s: float
    laps: tuple[Lap, ...] = ()
    more: int = 0
    is_traced: bool = False
    course: Course = UNKNOWN
    unsaid: Lap | None = None
    away: tuple[Stretch, ...] = ()
    joined: str = ""

    def late(self) -> NoReply:
        """What it is to have been begun by nobody in time."""
        return NoReply(
            f"the call {self.id!r}, which no worker of the type {self.agent_type!r} has begun (see 'coterie workers'),",
            self.patience_s,
        )

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.phase in ("done", "cancelled")

    @classmethod
    def of(cls, call_id: str, record: CallRecord) -> CallStatus:
        """What a record says; an outcome that lies elsewhere is not looked up."""
        outcome = Outcome.from_json(record.result) if record.result else None
        course = course_of(record)
        laps = at_worker(outcome.laps, record.worker, course.laps) if outcome is not None else ()
        return cls(
            call_id,
            record.phase,
            record.agent_type,
            record.owner,
            record.worker or None,
            record.token,
            outcome.result if outcome is not None else None,
            outcome.usage if outcome is not None else Usage(),
            record.given_up,
            record.reason,
            record.submitted_us / 1e6,
            record.begun_us / 1e6 if record.begun_us else None,
            record.patience_us / 1e6,
            laps,
            outcome.more if outcome is not None else 0,
            outcome is not None and outcome.is_traced,
            course,
            _unsaid(record, laps),
            outcome.away if outcome is not None else (),
        )


def _unsaid(record: CallRecord, laps: Sequence[Lap]) -> Lap | None:
    """From the end of the work on."""
    if not record.unsaid_us or not laps:
        return None
    return Lap("wait", max(lap.ended_us for lap in laps), record.unsaid_us, {"for": "store"})


def reference_of(text: str) -> Ref | None:
    """Where a document lies that is too large for a record."""
    if not text.startswith('{"ref":'):
        return None
    return Ref.deserialize(json.loads(text)["ref"])


def reference_text(ref: Ref) -> str:
    """What stands for it in the record."""
    return json.dumps({"ref": ref.serialize()}, separators=(",", ":"))
