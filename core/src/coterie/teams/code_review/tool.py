"""The reviewing tools: which version is here, and what to do when one is not."""

from __future__ import annotations

from coterie.teams.code_review.errors import ToolFailed

__all__ = ["tool_version"]


def tool_version(distribution: str) -> tuple[str, str]:
    """Name and installed version.

    Raises:
        ToolFailed: it is not installed.
    """
    # Slow to import, and not needed to make a plan.
    from importlib import metadata

    try:
        return distribution, metadata.version(distribution)
    except metadata.PackageNotFoundError as error:
        raise ToolFailed(
            f"{distribution!r} is not installed here; install coterie[code-review] on every worker"
        ) from error
