"""How the words of the commands about a fleet may stand: a value, a type or a command may be left out."""

from __future__ import annotations

from typing import Any

from coterie.cli.usage import Command, Group

__all__ = ["EVERY_S", "Listing", "OfAgent", "Watching"]

# How often `--watch` without a value looks.
EVERY_S = "2"


class Watching(Command):
    """A command whose `--watch` may stand without its value."""

    # The context is click's, which typer has brought in more than one form.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click; `--watch` alone gets its value."""
        filled: list[str] = []
        following = [*args[1:], ""]
        for arg, after in zip(args, following[: len(args)], strict=True):
            bare = arg in ("--watch", "-w") and not _is_number(after)
            filled += [arg, EVERY_S] if bare else [arg]
        return super().parse_args(ctx, filled)


class OfAgent(Command):
    """A command about one agent, whose type may stand before it."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after its name in the line `Usage:`; its one argument names both words."""
        return [piece.removesuffix("...").strip("{}") for piece in super().collect_usage_pieces(ctx)]


class Listing(Group):
    """A group whose command `list` may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click; `list` where no command is named."""
        bare = not args or (args[0].startswith("-") and args[0] not in ("-h", "--help"))
        return super().parse_args(ctx, ["list", *args] if bare else args)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
