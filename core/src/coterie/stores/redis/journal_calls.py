"""What a journal asks of its servers, as commands: the keys of a run, the scripts over them, numbers as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from coterie._rules.timeline import SECOND
from coterie.errors import StateFormatError, Unavailable
from coterie.stores.redis.durable import Durable
from coterie.stores.redis.evaluate import evaluate
from coterie.stores.redis.failures import JOURNAL_RIGHTS, translated
from coterie.stores.redis.route import Route
from coterie.stores.redis.scripts import plain_script
from coterie.stores.redis.wire import Command, Reply, Wire

__all__ = ["ABANDONED", "About", "JournalCalls", "Keys", "Listed", "Looked", "Texts"]

Texts = Mapping[str, str | None]

# Who is on the list for longer, without being a run, is not about to begin.
ABANDONED = 3600 * SECOND
_TOGETHER = 1000
# A shelf is read in parts of about so many bytes, as others wait while a server answers; of how large its texts are,
# the first part tells.
_PART_BYTES = 2**20
_FIRST_PART = 50
# So often a reading begins anew where servers take over from each other.
_SCANS = 5


class Keys(NamedTuple):
    """Of one run, all in one slot. about: when it began and changed. shelves: the names of all but the main one."""

    main: bytes
    about: bytes
    shelves: bytes

    def shelf(self, name: str) -> bytes:
        """Where a shelf lies."""
        return self.main + b"/" + name.encode() if name else self.main


class Looked(NamedTuple):
    """What lay at paths, when, and in which version of the run (None: there was no run); and who said so."""

    texts: Texts
    now: int
    version: int | None
    wire: Wire


class Listed(NamedTuple):
    """A run's place among all."""

    run: str
    place: int


class About(NamedTuple):
    """When a run began and changed, in microseconds."""

    begun_at: int
    changed_at: int


class _Answered:
    """The connection that a command was answered on."""

    __slots__ = ("wire",)

    def __init__(self) -> None:
        self.wire: Wire | None = None

    def __call__(self, wire: Wire) -> None:
        self.wire = wire

    @property
    def by(self) -> Wire:
        assert self.wire is not None
        return self.wire


class JournalCalls:
    """Every command of one journal, each with its errors translated.

    where: the store's URL, without credentials. clock: microseconds, instead of the servers'.
    """

    def __init__(
        self, route: Route, durable: Durable, *, namespace: str, where: str, clock: Callable[[], int] | None
    ) -> None:
        self._route = route
        self._durable = durable
        self._namespace = namespace
        self._where = where
        self._clock = clock
        self._list = f"{{{namespace}:runs}}".encode()

    def keys(self, run: str) -> Keys:
        """Where a run lies."""
        main = f"{{{self._namespace}:run/{run}}}".encode()
        return Keys(main, main + b":about", main + b":shelves")

    async def look(self, run: str, paths: Sequence[str]) -> Looked:
        """Texts of the main shelf."""
        keys, answered = self.keys(run), _Answered()
        reply = await self._evaluate(
            "_journal_look", keys[:2], (self._now(), *paths), what="read", of=run, again=True, on=answered
        )
        return Looked(_texts(paths, reply[2:], run), int(reply[0]), _version(reply[1]), answered.by)

    async def put(self, run: str, texts: Texts, *, expected: Texts, shelf: str = "") -> tuple[bool, Looked]:
        """Write to a shelf if the texts expected are those of the main shelf; and these, as they were if they are not.

        Where it was written, `texts` of the answer are empty.
        """
        keys, answered = self.keys(run), _Answered()
        named = (*keys, keys.shelf(shelf))
        terms = _terms(texts, expected)
        reply = await self._evaluate(
            "_journal_put", named, (self._now(), "", shelf, *terms), what="write", of=run, on=answered
        )
        if reply[0] == b"unlisted":
            await self._list_run(run, answered.by)
            reply = await self._evaluate(
                "_journal_put", named, (self._now(), "1", shelf, *terms), what="write", of=run, on=answered
            )
        done = reply[0] == b"done"
        found = {} if done else _texts(tuple(expected), reply[3:], run)
        return done, Looked(found, int(reply[1]), _version(reply[2]), answered.by)

    async def read(self, run: str, shelf: str) -> tuple[dict[str, str], Wire, int | None]:
        """All texts of a shelf, part by part, from one server; and the run's version after that."""
        keys, answered = self.keys(run), _Answered()
        for _ in range(_SCANS):
            found, server = await self._scan(keys.shelf(shelf), run)
            version = await self._run(keys.main, ("HGET", keys.about, "changed"), "read", run, answered)
            if found is not None and answered.by is server:
                texts = {_decoded(path, run): _decoded(text, run) for path, text in found.items()}
                return texts, server, _version(version)
        raise Unavailable(f"{self._where} changed its servers while the run {run!r} was read; try again later")

    async def _scan(self, key: bytes, run: str) -> tuple[dict[bytes, bytes] | None, Wire]:
        """All of a hash; None if another server, or one that was started again, went on: it has an order of its own."""
        answered, cursor, count = _Answered(), b"0", _FIRST_PART
        found: dict[bytes, bytes] = {}
        server: Wire | None = None
        while True:
            cursor, part = await self._run(key, ("HSCAN", key, cursor, "COUNT", count), "read", run, answered)
            server = server or answered.by
            if answered.by is not server:
                return None, server
            found.update(zip(part[::2], part[1::2], strict=True))
            if cursor == b"0":
                return found, server
            fitting = count * _PART_BYTES // (sum(map(len, part)) or 1)
            count = max(1, min(_TOGETHER, count * 4, fitting))

    async def about(self, run: str) -> About | None:
        """When it began and changed; None if there is no such run."""
        keys = self.keys(run)
        command = ("HMGET", keys.about, "begun", "changed")
        begun, changed = await self._run(keys.main, command, "read", run, _Answered())
        return None if begun is None else About(int(begun), int(changed))

    async def page(self, before: int | None, size: int) -> tuple[list[Listed], int]:
        """Runs of the list, the one begun last first; and the time."""
        arguments = (self._now(), "" if before is None else before, size)
        reply = await self._evaluate(
            "_journal_page", (self._list,), arguments, what="list the runs of", of=self._namespace, again=True
        )
        pairs = zip(reply[1::2], reply[2::2], strict=True)
        return [Listed(run.decode(), int(place)) for run, place in pairs], int(reply[0])

    async def unlist(self, run: str, place: int) -> Wire:
        """Take a run off the list, if that is its place."""
        answered = _Answered()
        await self._evaluate(
            "_journal_unlist", (self._list,), (run, place), what="unlist", of=run, again=True, on=answered
        )
        return answered.by

    async def place(self, run: str) -> int | None:
        """Where a run is on the list."""
        score = await self._run(self._list, ("ZSCORE", self._list, run), "find", run, _Answered())
        return None if score is None else int(float(score))

    async def remove(self, run: str) -> tuple[bool, Wire]:
        """Remove a run, at once if it has few shelves, else shelf by shelf; whether there was one."""
        keys, answered = self.keys(run), _Answered()
        while True:
            command = ("SRANDMEMBER", keys.shelves, _TOGETHER)
            names = await self._run(keys.main, command, "remove", run, answered)
            named = (*keys, *(keys.main + b"/" + name for name in names))
            reply = await self._evaluate("_journal_remove", named, names, what="remove", of=run, on=answered)
            if reply != b"some":
                return reply == b"all", answered.by

    async def settle(self, run: str, wire: Wire, version: int | None) -> None:
        """See `Durable.settle`: of a run that was read, or written to. Nothing rests upon one that is not there."""
        if version is not None:
            await self._durable.settle(wire, self.keys(run).main, run, version)

    async def settle_removal(self, run: str, wire: Wire, list_wire: Wire | None) -> None:
        """The same of a run that was removed, and of the list that it was then taken off."""
        if list_wire is None or not self._durable.are_one(wire, list_wire):
            await self._durable.settle(wire, self.keys(run).main, run)
        if list_wire is not None:
            await self._durable.settle(list_wire, self._list, "")

    async def _list_run(self, run: str, wire: Wire) -> None:
        """Put a run on the list: before it begins, and durably so, as nobody finds one that is not on it."""
        answered = _Answered()
        await self._evaluate(
            "_journal_list", (self._list,), (self._now(), run), what="list", of=run, again=True, on=answered
        )
        if not self._durable.are_one(wire, answered.by):
            await self._durable.settle(answered.by, self._list, "")

    def _now(self) -> int | str:
        return "" if self._clock is None else self._clock()

    async def _evaluate(
        self,
        script: str,
        keys: Sequence[bytes],
        arguments: Sequence[str | bytes | int],
        *,
        what: str,
        of: str,
        again: bool = False,
        on: _Answered | None = None,
    ) -> Reply:
        return await evaluate(
            self._route, plain_script(script), keys, arguments,
            what=what, of=of, where=self._where, again=again, on=on, rights=JOURNAL_RIGHTS,
        )  # fmt: skip

    async def _run(self, key: bytes, command: Command, what: str, of: str, on: _Answered) -> Reply:
        """A command that changes nothing."""
        with translated(f"{what} {of!r}", self._where, rights=JOURNAL_RIGHTS):
            return await self._route.run(key, command, again=True, on=on)


def _terms(texts: Texts, expected: Texts) -> list[str | bytes | int]:
    """What `_journal_put` takes after the name of the shelf."""
    terms: list[str | bytes | int] = [len(expected), *expected]
    for text in expected.values():
        terms += ("0", "") if text is None else ("1", text)
    terms.append(sum(text is not None for text in texts.values()))
    for path, text in texts.items():
        if text is not None:
            terms += (path, text)
    terms += (path for path, text in texts.items() if text is None)
    return terms


def _texts(paths: Sequence[str], values: Sequence[bytes | None], run: str) -> dict[str, str | None]:
    return {path: None if value is None else _decoded(value, run) for path, value in zip(paths, values, strict=True)}


def _decoded(value: bytes, run: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise StateFormatError(
            f"what lies in the run {run!r} is no text: {error}; is the namespace ours alone?"
        ) from error


def _version(reply: bytes | None) -> int | None:
    return None if reply is None else int(reply)
