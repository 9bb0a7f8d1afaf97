"""What a person is asked, as whoever puts it to them needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from coterie._rules.approval import Ask, PlaceKind
from coterie.approval import Approval, Field, check_text
from coterie.approvals.preview import body_of
from coterie.errors import Misuse
from coterie.ids import AgentType

__all__ = ["Asked", "Place", "PlaceKind", "asked_of"]

MOST_WHERE_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a person is asked: by an engine of this process, or on a scheduler. where: its URL or ids there."""

    kind: PlaceKind
    where: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(PlaceKind):
            raise Misuse(f"a place is {self.kind!r}; use one of {', '.join(get_args(PlaceKind))}")
        check_text(self.where, "where a person is asked", most=MOST_WHERE_CHARS)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that nobody has answered so far.

    role: who is asked. body: Markdown, at most 16 KiB: the input and the outputs before it, each in a code block, cut
    where they are long. until: seconds since the epoch; left_s: how long that is from now on the journal's clock; None:
    for ever. id: names this very question, for `decide`.
    """

    id: str
    question: str
    role: AgentType
    choices: tuple[str, ...]
    rejects: tuple[str, ...]
    fields: Mapping[str, Field] = field(default_factory=dict)
    assignees: tuple[str, ...] = ()
    body: str = ""
    until: float | None = None
    left_s: float | None = None

    @property
    def approval(self) -> Approval:
        """The same as a plan has it, without its time-out."""
        return Approval(
            self.question, choices=self.choices, rejects=self.rejects, fields=self.fields, assignees=self.assignees
        )


def asked_of(ask: Ask, now_s: float) -> Asked:
    """The question at an instant."""
    approval = ask.approval
    return Asked(
        ask.id,
        approval.question,
        ask.role,
        tuple(approval.choices),
        tuple(approval.rejects),
        dict(approval.fields),
        tuple(approval.assignees),
        body_of(ask.input, ask.context),
        ask.until,
        None if ask.until is None else max(0.0, ask.until - now_s),
    )
