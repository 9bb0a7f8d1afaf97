"""The folder and the command that these tests are about."""

from __future__ import annotations

from tests.support.command_line import coterie, folder, start

__all__ = ["coterie", "folder", "start"]
