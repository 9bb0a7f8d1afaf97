"""Wake-ups between the processes of one machine: datagram sockets in a folder beside the database.

Every store that listens has a socket there, and for each of its channels a mark in the channel's own folder, so that
who signals looks at one folder and sends to those who want it. Nothing polls, and nothing blocks: a receiver whose
queue is full finds a mark that says so when it has emptied it, and then looks at all its states.

Lost without a trace are only the signals of a process that is killed between its commit and its sending; shells
therefore also look at their states from time to time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from coterie._rules.decided import Signal
from coterie.errors import Unavailable

__all__ = ["Told", "Wakeups"]

# (channel, message); without a message, some of the channel's were lost, without a channel some of any.
Told: TypeAlias = tuple[str | None, str | None]

# Of a socket's address (104 on BSD and macOS, 108 on Linux), with its end.
_ADDRESS_BYTES = 103
# Below every system's default limit for one datagram; what is longer is sent as "look for yourself".
_DATAGRAM_BYTES = 64_000
# At most so many are received before the event loop gets its turn.
_AT_ONCE = 64
_NAME = re.compile(r"[0-9a-f]{16}\Z")
_GONE = (errno.ECONNREFUSED, errno.ENOENT, errno.ECONNRESET, errno.ENOTSOCK)
_FULL = (errno.EAGAIN, errno.ENOBUFS)


class Wakeups:
    """One store's end. All but `receive` is called by the store's thread; it blocks on nothing but the local disk.

    folder: made when first needed, for its owner alone.
    fd_links: whether `/proc/self/fd` leads to open folders; by default, what this system has.
    """

    def __init__(self, folder: Path, namespace: str, *, fd_links: bool | None = None) -> None:
        self._folder = folder
        self._namespace = namespace
        self._fd_links = Path("/proc/self/fd").is_dir() if fd_links is None else fd_links
        self._name = os.urandom(8).hex()
        self._channels: set[str] = set()
        self._receiver: socket.socket | None = None
        self._sender: socket.socket | None = None
        self._folder_fd: int | None = None
        self._alias: Path | None = None

    def listen(self, channel: str) -> socket.socket:
        """Have the signals of a channel sent here, from now on. Returns the socket on which they come.

        Raises:
            Unavailable: the folder cannot hold sockets.
        """
        try:
            if self._receiver is None:
                self._receiver = self._bind()
            if channel not in self._channels:
                self._mark(self._of(channel))
                self._channels.add(channel)
        except OSError as error:
            raise Unavailable(
                f"cannot be woken by way of {str(self._folder)!r}: {error}; put the database on a local disk, "
                "in a folder that this user may write to"
            ) from error
        return self._receiver

    def ignore(self, channel: str) -> None:
        """Have the signals of a channel not sent here any more."""
        self._channels.discard(channel)
        self._unmark(self._of(channel), self._name)

    def send(self, signals: Sequence[Signal]) -> None:
        """Send to all others who listen, in order; what cannot be sent is known to be lost by its receiver."""
        wanted: dict[str, list[Signal]] = {}
        names: dict[str, list[str]] = {}
        for signal in signals:
            if signal.channel not in names:
                names[signal.channel] = self._listening(signal.channel)
            for name in names[signal.channel]:
                wanted.setdefault(name, []).append(signal)
        for name, theirs in wanted.items():
            self._send_to(name, theirs)

    def receive(self) -> Iterator[Told]:
        """What has come, without waiting. Called by the event loop."""
        for _ in range(_AT_ONCE):
            try:
                datagram = self._receiver.recv(2 * _DATAGRAM_BYTES) if self._receiver is not None else b""
            except BlockingIOError:
                break
            if not datagram:
                break
            yield from _read(datagram, self._namespace)
        # Who finds the queue full leaves a mark, then tries once more. Either that came through, or the queue was still
        # full after the mark was made: in both cases something is received after it, and the mark is found here.
        if self._remove(self._lost(self._name)):
            yield None, None

    def close(self) -> None:
        """Leave the folder."""
        if self._receiver is not None:
            self._forget(self._name, [self._of(channel) for channel in self._channels])
        alias = self._alias
        self.abandon()
        if alias is not None:
            shutil.rmtree(alias, ignore_errors=True)

    def abandon(self) -> None:
        """Close what is open, and leave the files to the process that owns them: for a forked child."""
        for one in (self._receiver, self._sender):
            if one is not None:
                one.close()
        if self._folder_fd is not None:
            os.close(self._folder_fd)
        self._receiver = self._sender = self._folder_fd = self._alias = None
        self._channels.clear()

    def _bind(self) -> socket.socket:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        receiver = _datagrams()
        try:
            receiver.bind(self._address(self._name))
            self._sweep()
        except BaseException:
            receiver.close()
            raise
        return receiver

    def _address(self, name: str) -> str:
        """A path to a socket in the folder that is short enough for one, however deep the folder lies."""
        path = str(self._folder / name)
        if len(os.fsencode(path)) <= _ADDRESS_BYTES:
            return path
        if self._fd_links:
            if self._folder_fd is None:
                self._folder_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            return f"/proc/self/fd/{self._folder_fd}/{name}"
        if self._alias is None:
            self._alias = Path(tempfile.mkdtemp(prefix="coterie-"))
            (self._alias / "w").symlink_to(self._folder)
        return f"{self._alias}/w/{name}"

    def _of(self, channel: str) -> Path:
        digest = hashlib.sha256(f"{self._namespace}\n{channel}".encode()).hexdigest()
        return self._folder / f"on-{digest[:24]}"

    def _lost(self, name: str) -> Path:
        return self._folder / f"{name}.lost"

    def _mark(self, folder: Path) -> None:
        while True:
            folder.mkdir(mode=0o700, exist_ok=True)
            # The last other listener may take the folder away in between.
            with contextlib.suppress(FileNotFoundError):
                (folder / self._name).touch(mode=0o600)
                return

    def _unmark(self, folder: Path, name: str) -> None:
        self._remove(folder / name)
        # Others may be in it.
        with contextlib.suppress(OSError):
            folder.rmdir()

    def _listening(self, channel: str) -> list[str]:
        try:
            return self._others(self._of(channel))
        except OSError:
            return []

    def _others(self, folder: Path) -> list[str]:
        return [path.name for path in folder.iterdir() if path.name != self._name and _NAME.match(path.name)]

    def _send_to(self, name: str, signals: list[Signal]) -> None:
        failed = self._try_to_send(name, _written(self._namespace, signals))
        if failed in _GONE:
            self._forget(name, {self._of(signal.channel) for signal in signals})
        elif failed in _FULL:
            # First the mark, then one more try, by a socket with nothing outstanding: should this one find no
            # room either, then the receiver's queue is full, and it looks for the mark once it has emptied it.
            with contextlib.suppress(OSError):
                self._lost(name).touch(mode=0o600)
                if self._sender is not None:
                    self._sender.close()
                    self._sender = None
                self._try_to_send(name, _written(self._namespace, []))

    def _try_to_send(self, name: str, datagram: bytes) -> int:
        """Returns the number of the error, 0 for none."""
        try:
            if self._sender is None:
                self._sender = _datagrams()
            self._sender.sendto(datagram, self._address(name))
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def _sweep(self) -> None:
        """Remove what killed processes left."""
        dead = [name for name in self._others(self._folder) if self._is_dead(name)]
        if dead:
            folders = [path for path in self._folder.iterdir() if path.name.startswith("on-")]
            for name in dead:
                self._forget(name, folders)

    def _is_dead(self, name: str) -> bool:
        with _datagrams() as probe:
            return probe.connect_ex(self._address(name)) in _GONE

    def _forget(self, name: str, marked: Iterable[Path]) -> None:
        # The names are random: nobody can have taken this one anew.
        self._remove(self._folder / name)
        self._remove(self._lost(name))
        for folder in marked:
            self._unmark(folder, name)

    def _remove(self, path: Path) -> bool:
        try:
            path.unlink()
        except OSError:
            return False
        return True


def _datagrams() -> socket.socket:
    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.settimeout(0)
    return one


def _written(namespace: str, signals: list[Signal]) -> bytes:
    datagram = json.dumps([namespace, signals], ensure_ascii=False).encode()
    if len(datagram) <= _DATAGRAM_BYTES:
        return datagram
    return json.dumps([namespace, [(channel, None) for channel in dict(signals)]]).encode()[:_DATAGRAM_BYTES]


def _read(datagram: bytes, namespace: str) -> Iterator[Told]:
    try:
        sent_in, signals = json.loads(datagram)
        if sent_in == namespace:
            yield from [(channel, message) for channel, message in signals]
    # Not from us, or cut off: whatever it was, it is lost.
    except (ValueError, TypeError):
        yield None, None
