"""A Valkey whose clock can be set forward and back while it runs.

Its calls of the C library for the time of day go to a small library, compiled here and preloaded, which adds what a
file says. The server's whole sense of time is moved by that, the expiry of keys included, as by a real clock that is
set; its monotonic clock is left alone, as by a real one too. The store's own clock (a test may give it one) would not
do: it changes neither what the server believes nor what scripts find there.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.redis_servers import Server, free_port, valkey_binary

__all__ = ["KEEPING", "SkewedServer", "skewed_valkey"]

# What a server needs to have its state again after a kill; synced every second, it answers before it writes where the
# disk is busy.
KEEPING = ("--appendonly", "yes", "--appendfsync", "always")
_TRIES = 5
_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *skew_us;

__attribute__((constructor)) static void begin(void) {
  int file = open(getenv("SKEW_FILE"), O_RDONLY);
  void *page = mmap(0, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  if (file < 0 || page == MAP_FAILED) abort();
  close(file);
  skew_us = page;
}

static int64_t now_us(int clock, struct timespec *at) {
  syscall(SYS_clock_gettime, clock, at);
  int64_t skew = skew_us ? *skew_us : 0;
  return at->tv_sec * 1000000LL + at->tv_nsec / 1000 + skew;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
  if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) return syscall(SYS_clock_gettime, clock, at);
  int64_t us = now_us(clock, at);
  at->tv_sec = us / 1000000;
  at->tv_nsec = us % 1000000 * 1000;
  return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  struct timespec seen;
  int64_t us = now_us(CLOCK_REALTIME, &seen);
  at->tv_sec = us / 1000000;
  at->tv_usec = us % 1000000;
  return 0;
}

time_t time(time_t *at) {
  struct timespec seen;
  time_t seconds = now_us(CLOCK_REALTIME, &seen) / 1000000;
  if (at) *at = seconds;
  return seconds;
}
"""


class SkewedServer(Server):
    """skew_s: by how much its clock is ahead of ours; negative where it is behind."""

    @property
    def skew_s(self) -> float:
        (us,) = struct.unpack("<q", (self.folder / "skew").read_bytes())
        return us / 1_000_000

    @skew_s.setter
    def skew_s(self, seconds: float) -> None:
        file = os.open(self.folder / "skew", os.O_WRONLY | os.O_CREAT)
        try:
            # In place, and whole: the server has it in its memory.
            os.pwrite(file, struct.pack("<q", round(seconds * 1_000_000)), 0)
        finally:
            os.close(file)


@contextmanager
def skewed_valkey(folder: Path, *, arguments: Sequence[str] = (), skews: bool = True) -> Iterator[SkewedServer]:
    """One Valkey, with its state kept over a kill if the arguments are `KEEPING`.

    skews: whether its clock is ever set; that needs a C compiler.
    """
    launcher = _launcher(folder) if skews else valkey_binary()
    for attempt in range(1, _TRIES + 1):
        port = free_port()
        plain = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        server = SkewedServer(str(launcher), port, folder, [*plain, *arguments])
        server.skew_s = 0.0
        try:
            server.start()
        except AssertionError:
            # Most often the port was taken by another.
            server.stop()
            if attempt == _TRIES:
                raise
            continue
        break
    try:
        yield server
    finally:
        server.stop()


def _launcher(folder: Path) -> Path:
    """A command that becomes the server, with the library before the others."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler, "a C compiler is missing: install gcc"
    library, source = folder / "skew.so", folder / "skew.c"
    source.write_text(_SOURCE)
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    launcher = folder / "valkey-with-skew"
    launcher.write_text(
        f'#!/bin/sh\nexport SKEW_FILE="{folder}/skew" LD_PRELOAD="{library}"\nexec "{valkey_binary()}" "$@"\n'
    )
    launcher.chmod(0o755)
    return launcher
