"""What our spans and their attributes are called: the one table of it, which `docs/reference/telemetry.md` shows.

`gen_ai.*` and `messaging.*` are OpenTelemetry's semantic conventions, pinned below. They still move: a newer version
changes this file and nothing else.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

__all__ = [
    "ATTRIBUTES",
    "SCHEMA_URL",
    "SCOPE",
    "SEMCONV",
    "SPANS",
    "AttributeRow",
    "Kind",
    "SpanRow",
]

SEMCONV = "1.44.0"
SCHEMA_URL = f"https://opentelemetry.io/schemas/{SEMCONV}"
SCOPE = "coterie"

Kind: TypeAlias = Literal["internal", "client", "producer", "consumer"]

# Attributes of the semantic conventions.
OPERATION = "gen_ai.operation.name"
WORKFLOW_NAME = "gen_ai.workflow.name"
AGENT_NAME = "gen_ai.agent.name"
AGENT_VERSION = "gen_ai.agent.version"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
ERROR_TYPE = "error.type"
MESSAGING_SYSTEM = "messaging.system"
MESSAGING_OPERATION = "messaging.operation.type"
MESSAGING_DESTINATION = "messaging.destination.name"
MESSAGING_GROUP = "messaging.consumer.group.name"
MESSAGE_ID = "messaging.message.id"
MESSAGE_CONVERSATION = "messaging.message.conversation_id"
MESSAGE_COUNT = "messaging.batch.message_count"
# Ours.
RUN_ID = "coterie.run_id"
NAMESPACE = "coterie.namespace"
STATUS = "coterie.status"
TASK_ID = "coterie.task_id"
AGENT_TYPE = "coterie.agent_type"
ITEM = "coterie.item"
ATTEMPT = "coterie.attempt"
ATTEMPTS = "coterie.attempts"
STATE = "coterie.state"
REPLAYED = "coterie.replayed"
IDEMPOTENCY_KEY = "coterie.idempotency_key"
WHY = "coterie.why"
WORKER = "coterie.worker"
COST = "coterie.cost_micros"
DELIVERY = "coterie.delivery"
FACT = "coterie.{fact}"


class AttributeRow(NamedTuple):
    """One attribute. type: as OpenTelemetry names it. means: for people."""

    name: str
    type: Literal["string", "int", "double", "boolean"]
    means: str


class SpanRow(NamedTuple):
    """One kind of span. name: with what is filled in. made: when. attributes: those that it may have."""

    name: str
    kind: Kind
    made: str
    attributes: tuple[str, ...]


ATTRIBUTES: tuple[AttributeRow, ...] = (
    AttributeRow(OPERATION, "string", "`invoke_workflow` or `invoke_agent`; the conventions have none for a task"),
    AttributeRow(WORKFLOW_NAME, "string", "the plan's name"),
    AttributeRow(AGENT_NAME, "string", "the agent's id in its team"),
    AttributeRow(AGENT_VERSION, "string", "what the agent declares as its version"),
    AttributeRow(INPUT_TOKENS, "int", "tokens that this call reported"),
    AttributeRow(OUTPUT_TOKENS, "int", "tokens that this call reported"),
    AttributeRow(ERROR_TYPE, "string", "the class of the error that ended it"),
    AttributeRow(MESSAGING_SYSTEM, "string", "`coterie`"),
    AttributeRow(MESSAGING_OPERATION, "string", "`send` or `process`"),
    AttributeRow(MESSAGING_DESTINATION, "string", "the topic"),
    AttributeRow(MESSAGING_GROUP, "string", "the group of consumers"),
    AttributeRow(MESSAGE_ID, "string", "the event's id"),
    AttributeRow(MESSAGE_CONVERSATION, "string", "the event's correlation id"),
    AttributeRow(MESSAGE_COUNT, "int", "how many events were published at once, where it is not one"),
    AttributeRow(RUN_ID, "string", "the workflow id: the same in every process, try and engine"),
    AttributeRow(NAMESPACE, "string", "the namespace of the deployment"),
    AttributeRow(STATUS, "string", "how the run ended: `succeeded`, `partial`, `failed`, `cancelled`"),
    AttributeRow(TASK_ID, "string", "the task's id in its plan"),
    AttributeRow(AGENT_TYPE, "string", "the skill that the task asks for; of a call, the agent's own"),
    AttributeRow(ITEM, "string", "which item of a foreach it is"),
    AttributeRow(ATTEMPT, "int", "which attempt this call is, from 1"),
    AttributeRow(ATTEMPTS, "int", "how many attempts were made"),
    AttributeRow(STATE, "string", "how the task ended: `succeeded`, `failed`, `skipped`, `cancelled`"),
    AttributeRow(REPLAYED, "boolean", "it was finished before, so that nothing was done"),
    AttributeRow(IDEMPOTENCY_KEY, "string", "equal for every attempt at this work, on every engine"),
    AttributeRow(WHY, "string", "why work that the journal knew was done, such as `unfinished` or `cleared`"),
    AttributeRow(WORKER, "string", "the worker that performed it"),
    AttributeRow(COST, "int", "money that was reported, in micro-units"),
    AttributeRow(DELIVERY, "int", "how often the event was handed out, from 1"),
    AttributeRow(FACT, "string", "a fact of a lap, as the journal has it, such as `coterie.place` or `coterie.by`"),
)

_WORK = (RUN_ID, TASK_ID, AGENT_TYPE, ITEM)
_LAP = (FACT,)
_EVENT = (MESSAGING_SYSTEM, MESSAGING_OPERATION, MESSAGING_DESTINATION, MESSAGE_ID, MESSAGE_CONVERSATION)

SPANS: tuple[SpanRow, ...] = (
    SpanRow(
        "invoke_workflow {plan}",
        "internal",
        "a run, by whoever executes or concludes it",
        (OPERATION, WORKFLOW_NAME, RUN_ID, NAMESPACE, STATUS, ERROR_TYPE),
    ),
    SpanRow(
        "execute_task {task}",
        "internal",
        "a task, a foreach as a whole, or one item of it: from being asked for to its record",
        (*_WORK, ATTEMPTS, STATE, REPLAYED, IDEMPOTENCY_KEY, WHY, INPUT_TOKENS, OUTPUT_TOKENS, COST, ERROR_TYPE),
    ),
    SpanRow(
        "invoke_agent {agent}",
        "internal",
        "one call of an agent here, around it: what its libraries trace lies within",
        (OPERATION, AGENT_NAME, AGENT_VERSION, AGENT_TYPE, ATTEMPT, INPUT_TOKENS, OUTPUT_TOKENS, COST, ERROR_TYPE),
    ),
    SpanRow(
        "invoke_agent {agent_type}",
        "client",
        "one call of a worker; the worker's `execute_task` lies within",
        (OPERATION, AGENT_NAME, WORKER, ERROR_TYPE),
    ),
    SpanRow("claim {task}", "internal", "waiting for the work itself, or taking it over from a lost process", _LAP),
    SpanRow("queue {agent_type}", "internal", "waiting for a slot: here, in the pool, or for a worker", _LAP),
    SpanRow("limit {agent_type}", "internal", "held back by a rate limit", _LAP),
    SpanRow("wait {for}", "internal", "waiting out a refusal, or a store that is away", _LAP),
    SpanRow("backoff", "internal", "waiting between two attempts", _LAP),
    SpanRow("lost {worker}", "internal", "an attempt of which nothing came: its worker is gone, or was stopped", _LAP),
    SpanRow("step {name}", "internal", "a durable step", _LAP),
    SpanRow("read", "internal", "an artifact being read", _LAP),
    SpanRow("write", "internal", "an artifact being written", _LAP),
    SpanRow("fallback {to}", "internal", "somebody else standing in", _LAP),
    SpanRow("undo {task}", "internal", "marks the work around it as the compensation of a task", _LAP),
    SpanRow("publish {type}", "producer", "events being published", (*_EVENT, MESSAGE_COUNT, ERROR_TYPE)),
    SpanRow(
        "process {type}",
        "consumer",
        "an event being handled; it links to its `publish`",
        (*_EVENT, MESSAGING_GROUP, DELIVERY, ERROR_TYPE),
    ),
)
