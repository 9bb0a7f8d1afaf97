"""A team that reviews real code: style and likely bugs, security, structure, tests, documentation.

`team` and `plan` are all that an engine needs; importing this module imports neither until they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coterie.teams.code_review._plan import plan
    from coterie.teams.code_review._team import team

__all__ = ["plan", "team"]

_HOMES = {"plan": "_plan", "team": "_team"}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
