"""How the block types look on Prefect's pages."""

from __future__ import annotations

from pydantic import HttpUrl

__all__ = ["DOCUMENTATION", "LOGO"]

# Where the project is published. `.example` belongs to nobody (RFC 2606): set it once there is an address.
_SITE = "https://coterie.example"

LOGO = HttpUrl(f"{_SITE}/logo.png")
DOCUMENTATION = HttpUrl(f"{_SITE}/reference/prefect")
