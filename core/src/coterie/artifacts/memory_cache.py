"""Content that this process has read: small things, kept as long as there is room."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict

__all__ = ["MemoryCache", "cache_of_process"]

CACHE_BYTES = 64 * 2**20
# Larger content would push out much else.
MAX_CONTENT_BYTES = 4 * 2**20


class MemoryCache:
    """Keeps what was used last, up to `limit_bytes`. Keys say where content lies and what its hash is."""

    def __init__(self, limit_bytes: int = CACHE_BYTES, *, max_content_bytes: int = MAX_CONTENT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._max_content_bytes = max_content_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self.size_bytes = 0

    def takes(self, size_bytes: int) -> bool:
        """Whether content of this size is kept at all."""
        return size_bytes <= self._max_content_bytes

    def get(self, key: str) -> bytes | None:
        """The content, which was used last from now on."""
        with self._lock:
            content = self._kept.get(key)
            if content is not None:
                self._kept.move_to_end(key)
            return content

    def put(self, key: str, content: bytes) -> None:
        """Keep it, and forget what was not used for the longest time."""
        if not self.takes(len(content)):
            return
        with self._lock:
            self.size_bytes += len(content) - len(self._kept.pop(key, b""))
            self._kept[key] = content
            while self.size_bytes > self._limit_bytes:
                self.size_bytes -= len(self._kept.popitem(last=False)[1])


def cache_of_process() -> MemoryCache:
    """The one that all handles of this process share."""
    global _of_process  # noqa: PLW0603
    pid, cache = _of_process
    # After a fork its lock may be held for ever: schedulers fork, so the process id decides.
    if cache is None or pid != os.getpid():
        cache = MemoryCache()
        _of_process = (os.getpid(), cache)
    return cache


_of_process: tuple[int, MemoryCache | None] = (0, None)
