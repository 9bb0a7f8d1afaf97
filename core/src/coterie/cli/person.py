"""Whoever types a command."""

from __future__ import annotations

import getpass

__all__ = ["login_name"]


def login_name() -> str:
    """Who is at the keyboard, as far as the machine knows; empty if it does not."""
    try:
        return getpass.getuser()
    # Nobody's name is known to the system, as for some service users.
    except (OSError, KeyError, ImportError):
        return ""
