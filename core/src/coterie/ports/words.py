"""The words that the ports have in common: who shares a store, what survives in it, and who is told of news."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

__all__ = ["Durability", "Notice", "Scope"]

# Who shares a store's state: the tasks of one process, the processes of one machine, all machines.
Scope = Literal["process", "machine", "fleet"]
# What has been acknowledged survives: a power cut ("strict"), the end of a process ("relaxed"), nothing ("none").
Durability = Literal["strict", "relaxed", "none"]
# Called in the event loop with each message; with None when some may have been missed: look at the state again.
Notice: TypeAlias = Callable[[str | None], None]
