"""The journal of runs: what was finished is never paid for twice."""

from coterie.journal.intent import Intent
from coterie.journal.journal import Journal

__all__ = ["Intent", "Journal"]
