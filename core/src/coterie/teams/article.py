"""An example team and machine with a person in the loop: a draft is reviewed until somebody approves of it.

`coterie.teams.article:team` and `machine` are what the example DAG and flow `review_until_approved` work with. No model
is called: the writer puts what the reviewer said last under the text, so that it is seen what reached it.
"""

from __future__ import annotations

from dataclasses import dataclass

from coterie import Action, Go, State, StateMachine, Team

__all__ = ["machine", "team"]

team = Team("article")

machine = StateMachine(
    "review-until-approved",
    [
        State(
            "draft",
            action=Action(
                "writer",
                input={
                    "subject": {"$param": "subject"},
                    "comment": {"$data": "/event/payload/comment", "default": ""},
                    "version": {"$data": "/visit"},
                },
            ),
            max_visits=3,
            transitions=[Go("review"), Go("rejected", "exhausted")],
        ),
        # Nothing is done here: it waits for a person.
        State("review", transitions=[Go("published", "approve"), Go("draft", "revise")]),
        State("published", final="succeeded"),
        State("rejected", final="failed"),
    ],
    initial="draft",
    params={"subject": "what a scheduler forgets"},
)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be written. comment: what the reviewer said of the version before."""

    subject: str
    comment: str
    version: int


@team.agent("writer")
async def write(task_input: Order) -> str:
    """Write an article, and heed what was said of the version before."""
    heeded = f"\n\nRevised: {task_input.comment}" if task_input.comment else ""
    return f"# Of {task_input.subject}\n\nVersion {task_input.version}.{heeded}"
