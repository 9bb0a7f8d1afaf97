"""Every error that coterie raises, in one tree, by what the caller can do about it.

    CoterieError
    ├─ Misuse(ValueError)     the call, plan, policy or input is wrong: fix it, a retry cannot help
    │  ├─ PolicyError         a setting that cannot work
    │  ├─ PlanError           CycleFound, DuplicateTask, UnknownDependency
    │  ├─ MachineError        a state machine that cannot run: UnknownState
    │  ├─ IllegalTransition   a machine's state does not take the event, which changes nothing
    │  ├─ UnknownAgentType    nobody in the team serves the type
    │  ├─ UnknownAgent        a pool has no agent of that id
    │  ├─ UnknownObjective    no template is meant by it, or several are
    │  ├─ UnknownRun          the journal has no run of that id, or one of another kind
    │  ├─ NotAsked            nobody asks what is answered, or asks something else by now
    │  ├─ AlreadyDecided      somebody else has answered before
    │  ├─ AskedElsewhere      a scheduler asks, and is to be answered there
    │  ├─ NoDeadLetter        what is said to be undone by hand was not left to anybody
    │  ├─ PlanChanged         a run is to go on with another plan than it began with
    │  ├─ MalformedEvent      a text that is no CloudEvent; UntrustedEvent, OversizedMessage
    │  ├─ WorkerIdTaken       another worker of this id is alive
    │  └─ MissingOutput       an output was asked of a task that has none
    ├─ Refused                not now: wait `retry_after_s` seconds, then ask again; no attempt was made
    │  ├─ BreakerOpen         the agent, or every agent of the type, is suspended
    │  ├─ QuotaSpent          the rate limit has no room within the time given
    │  ├─ PoolBusy            every slot is taken and the time to wait is over
    │  ├─ BudgetSpent         the window's tokens or money are used up
    │  ├─ NoLiveAgent         nobody serves the type at the moment
    │  ├─ TopicFull           a topic takes no more until its consumers have worked some off
    │  └─ ClaimedElsewhere    another process is at the same work
    ├─ Final                  the work was tried and is over: a retry by the scheduler would only repeat it
    │  ├─ StepFailed          the agent failed; CommandFailed for a subprocess, ItemsFailed for a foreach,
    │  │                      AgentRejected for a remote agent that refused the request itself
    │  ├─ ApprovalRejected    a person said no
    │  ├─ TaskTimedOut        the agent, or the person, did not answer in time
    │  ├─ BudgetExhausted     the tokens or money of the run are used up
    │  ├─ CompensationFailed  a step of a run that failed was not undone
    │  ├─ RemoteFailed        a remote worker says how; CallCancelled, CallAbandoned
    │  ├─ NoReply             nobody answered a request in time
    │  └─ PlanRejected        a plan that a model made broke the rules to the end
    ├─ ArtifactError          MissingArtifact, CorruptArtifact, ForbiddenLocation
    ├─ AgentUnavailable       a remote agent did not answer, or cannot now: tried again by the task's own retry
    │  └─ AgentThrottled      it works, but is asked too often
    ├─ EventsLost             messages were dropped before their consumer got to them
    ├─ BadAnswer              a remote agent answered, but not what was promised
    ├─ LeaseLost              a slot was held too long, or given back before
    │  └─ StaleToken          somebody else holds it now, with a higher token; WorkTakenOver: does this work now
    ├─ StateFormatError       a stored state is of a version, or form, that this coterie does not read
    ├─ Diverged               an agent's steps are not those that its journal knows, and it was to be strict
    └─ Unavailable            a store failed (`__cause__` is the driver's error): try again later

Messages quote values with ``!r`` and end with the next step.
"""

from __future__ import annotations

from coterie.errors.agent import AgentThrottled, AgentUnavailable, BadAnswer
from coterie.errors.bus import (
    CallAbandoned,
    CallCancelled,
    EventsLost,
    MalformedEvent,
    NoReply,
    OversizedMessage,
    RemoteFailed,
    TopicFull,
    UntrustedEvent,
    WorkerIdTaken,
)
from coterie.errors.final import (
    AgentRejected,
    ApprovalRejected,
    BudgetExhausted,
    CommandFailed,
    CompensationFailed,
    Final,
    ItemsFailed,
    PlanRejected,
    StepFailed,
    TaskTimedOut,
)
from coterie.errors.misuse import (
    AlreadyDecided,
    AskedElsewhere,
    CycleFound,
    DuplicateTask,
    IllegalTransition,
    MachineError,
    MissingOutput,
    Misuse,
    NoDeadLetter,
    NotAsked,
    PlanChanged,
    PlanError,
    PolicyError,
    UnknownAgent,
    UnknownAgentType,
    UnknownDependency,
    UnknownObjective,
    UnknownRun,
    UnknownState,
)
from coterie.errors.refused import (
    BreakerOpen,
    BudgetSpent,
    ClaimedElsewhere,
    NoLiveAgent,
    PoolBusy,
    QuotaSpent,
    Refused,
)
from coterie.errors.root import CoterieError
from coterie.errors.state import (
    ArtifactError,
    CorruptArtifact,
    Diverged,
    ForbiddenLocation,
    LeaseLost,
    MissingArtifact,
    StaleToken,
    StateFormatError,
    Unavailable,
    WorkTakenOver,
)

__all__ = [
    "AgentRejected",
    "AgentThrottled",
    "AgentUnavailable",
    "AlreadyDecided",
    "ApprovalRejected",
    "ArtifactError",
    "AskedElsewhere",
    "BadAnswer",
    "BreakerOpen",
    "BudgetExhausted",
    "BudgetSpent",
    "CallAbandoned",
    "CallCancelled",
    "ClaimedElsewhere",
    "CommandFailed",
    "CompensationFailed",
    "CorruptArtifact",
    "CoterieError",
    "CycleFound",
    "Diverged",
    "DuplicateTask",
    "EventsLost",
    "Final",
    "ForbiddenLocation",
    "IllegalTransition",
    "ItemsFailed",
    "LeaseLost",
    "MachineError",
    "MalformedEvent",
    "MissingArtifact",
    "MissingOutput",
    "Misuse",
    "NoDeadLetter",
    "NoLiveAgent",
    "NoReply",
    "NotAsked",
    "OversizedMessage",
    "PlanChanged",
    "PlanError",
    "PlanRejected",
    "PolicyError",
    "PoolBusy",
    "QuotaSpent",
    "Refused",
    "RemoteFailed",
    "StaleToken",
    "StateFormatError",
    "StepFailed",
    "TaskTimedOut",
    "TopicFull",
    "Unavailable",
    "UnknownAgent",
    "UnknownAgentType",
    "UnknownDependency",
    "UnknownObjective",
    "UnknownRun",
    "UnknownState",
    "UntrustedEvent",
    "WorkTakenOver",
    "WorkerIdTaken",
]
