"""What turns an objective into a plan looks like to those who use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from coterie._json import JsonValue
from coterie.plan import Plan
from coterie.team import Team

__all__ = ["Decomposer"]


class Decomposer(Protocol):
    """Turns an objective into a plan that a team can run."""

    async def decompose(self, objective: str, context: Mapping[str, JsonValue], *, team: Team) -> Plan:
        """A plan that reaches `objective`, given the facts in `context`; every task has an agent in `team`.

        Raises:
            Misuse: the objective or the context cannot be used as they are.
            PlanRejected: no acceptable plan was found. Unavailable: whoever makes the plan did not answer.
        """
        ...
