"""Blobs on any URL that fsspec knows: a folder, S3, GCS, Azure, memory."""

from __future__ import annotations

from coterie.stores.blobs.names import check_blob_name
from coterie.stores.blobs.store import FsspecBlobs

__all__ = ["FsspecBlobs", "check_blob_name"]
