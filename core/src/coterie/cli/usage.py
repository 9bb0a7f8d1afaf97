"""Help as other programs write it: `PLAN`, not `{PLAN}`; flags without a type. Newer typers write both."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

__all__ = ["Command", "Group"]


def _plain(params: list[Any]) -> list[Any]:
    for each in params:
        if getattr(each, "is_bool_flag", False):
            each.metavar = ""
    return params


class Command(TyperCommand):
    """One command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its options and arguments, `--help` included."""
        return _plain(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after its name in the line `Usage:`."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


class Group(TyperGroup):
    """The program, which holds the commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its own options, `--help` included."""
        return _plain(super().get_params(ctx))
