"""Durable sub-steps of one unit of work: what an agent has done so far is there when it is asked again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from coterie._json import JsonValue
from coterie._rules.journal_text import FORMAT, dumped, parsed
from coterie.agent import to_json, type_adapter
from coterie.errors import (
    CoterieError,
    Diverged,
    LeaseLost,
    MissingArtifact,
    Misuse,
    StaleToken,
    Unavailable,
    WorkTakenOver,
)
from coterie.ids import content_hash
from coterie.journal.results import MOST_CHARS, too_large
from coterie.ref import Ref
from coterie.result import output_from_dict, output_to_dict

if TYPE_CHECKING:
    from coterie.context import TaskContext
    from coterie.journal.begun import Begun
    from coterie.journal.journal import Journal
    from coterie.journal.unit import Unit

__all__ = ["StepCall", "Steps", "path_here", "typed"]

_log = logging.getLogger("coterie.journal")


class _Here(NamedTuple):
    """The step that the code is in."""

    context: TaskContext
    path: str


_here: ContextVar[_Here | None] = ContextVar("coterie_step", default=None)


def path_here(context: TaskContext) -> str | None:
    """The path of the step that the calling code is in, of this unit of work; None outside of any."""
    here = _here.get()
    return here.path if here is not None and here.context is context else None


class StepCall:
    """One call of a durable step. Within the `with` block: `recall`; if that gives None, call the function, and `keep`.

    begun: of the attempt that calls it; by default the one that is under way.

    Raises, on entering:
        Misuse: a name that cannot be, or steps that could not be told apart. LeaseLost: the attempt was cut off, and
            another is under way: its steps are not to be mixed with those of an agent that could not be stopped.
    """

    def __init__(
        self,
        context: TaskContext,
        name: str,
        arguments: tuple[Any, ...],
        *,
        key: str | None,
        version: str,
        begun: Begun | None = None,
    ) -> None:
        self._context = context
        self._begun = context.steps_begun if begun is None else begun
        if self._begun is not context.steps_begun:
            raise LeaseLost(f"this attempt at {context.task_id!r} was cut off, and another is under way; end it here")
        # Before anything is awaited, so that parallel steps are numbered by start, not by finish.
        self._step = self._begun.enter(path_here(context), name, key)
        self._fingerprint = _fingerprint(version, arguments)
        self._token: Token[_Here | None] | None = None
        self._began_us = 0
        self._is_replayed = False

    def __enter__(self) -> Self:
        if (trail := self._context.trail) is not None:
            self._began_us = trail.now_us()
        self._token = _here.set(_Here(self._context, self._step.path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._token is not None
        _here.reset(self._token)
        self._begun.leave(self._step)
        if (trail := self._context.trail) is not None:
            trail.since("step", self._began_us, name=self._step.path, replayed=self._is_replayed, error=error)

    async def recall(self) -> tuple[JsonValue] | None:
        """What the step returned before, in a tuple."""
        known = self._known
        found = None if known is None else await known.recall(self._step.path, self._fingerprint, self._begun)
        try:
            recalled = None if found is None else (await self._context.loaded(found[0]),)
        except MissingArtifact as error:
            _log.warning("journal.output_gone %s %s: done again: %s", self._context.task_id, self._step.path, error)
            return None
        self._is_replayed = recalled is not None
        return recalled

    async def keep(self, returned: object) -> JsonValue:
        """Record what it returned; that, as JSON."""
        value = to_json(returned, f"the value of the step {self._step.path!r}")
        if self._known is not None:
            store = self._context.artifacts
            output = value if store is None else await store.put(value)
            await self._known.keep(self._step.path, self._fingerprint, output, self._begun)
        return value

    @property
    def _known(self) -> Steps | None:
        unit, book = self._context.unit, self._context.run.book
        if unit is None or book is None:
            return None
        if unit.steps is None:
            unit.steps = book.steps(unit)
        return unit.steps


def typed(value: JsonValue, type_: Any) -> Any:
    """The value, validated to a type if one is given."""
    return value if type_ is None else type_adapter(type_).validate_python(value)


class Steps:
    """The journal's steps of one unit, read when the first is asked for.

    on_failure: called when they cannot be kept: somebody else does the work by now, or the store failed. on_resumed:
    called once, when the first is recalled, with how many were finished before.
    """

    def __init__(
        self,
        journal: Journal,
        run: str,
        unit: Unit,
        *,
        strict: bool,
        on_failure: Callable[[CoterieError], None] | None = None,
        on_resumed: Callable[[int], None] | None = None,
    ) -> None:
        self._journal = journal
        self._run = run
        self._unit = unit
        self._strict = strict
        self._on_failure = on_failure
        self._on_resumed = on_resumed
        self._known: dict[str, str] | None = {} if unit.why == "first" else None
        self._reading = asyncio.Lock()
        self._sweeping = asyncio.Lock()

    async def recall(self, path: str, fingerprint: str, begun: Begun) -> tuple[JsonValue | Ref] | None:
        """What a step returned before, in a tuple; None if it is to run.

        Raises:
            Diverged: another step was there, and the run is strict. StaleToken: somebody else does this work by now.
        """
        if self._unit.lost is not None:
            raise self._unit.lost
        known = await self._texts()
        text = known.get(path)
        if text is None or begun.diverged:
            return None
        found = parsed(text, f"{self._unit.name} {path}")
        if not self._is_of_this_work(found):
            return None
        if found["fp"] != fingerprint:
            self._diverge(path, begun)
            return None
        begun.met.add(path)
        told, self._on_resumed = self._on_resumed, None
        if told is not None:
            told(len(self._of_this_work(known, set())))
        return (output_from_dict(found["out"]),)

    async def keep(self, path: str, fingerprint: str, output: JsonValue | Ref, begun: Begun) -> None:
        """Record what a step returned.

        Raises:
            StaleToken: somebody else does this work by now.
        """
        unit = self._unit
        text = dumped(
            {
                "v": FORMAT,
                "e": unit.epoch,
                "tf": unit.fingerprint[:16],
                "fp": fingerprint,
                "out": output_to_dict(output),
            }
        )
        if len(text) > MOST_CHARS:
            raise too_large(f"{unit.name}/{path}", len(text))
        if begun.swept or not begun.diverged:
            await self._write(path, text, begun)
            return
        # One sweeps, and the others that are kept at the same time wait: what they keep is not to be swept.
        async with self._sweeping:
            await self._write(path, text, begun)

    async def _write(self, path: str, text: str, begun: Begun) -> None:
        unit, known = self._unit, await self._texts()
        # What came after a step that is another now must not be met by an attempt that knows only the new one.
        old = [] if begun.swept or not begun.diverged else self._of_this_work(known, begun.met | {path})
        try:
            await self._journal.store.write(
                self._run, {**dict.fromkeys(old), path: text}, guard=unit.guard, shelf=unit.name
            )
        except BaseException as error:
            # Whether it was written is not known: another attempt looks.
            self._known = None
            self._failed(error)
            if isinstance(error, StaleToken):
                raise WorkTakenOver(str(error)) from error
            raise
        begun.swept = begun.diverged
        begun.met.add(path)
        for other in old:
            del known[other]
        known[path] = text

    def _of_this_work(self, known: dict[str, str], but: set[str]) -> list[str]:
        parts = {path: parsed(text, f"{self._unit.name} {path}") for path, text in known.items() if path not in but}
        return [path for path, found in parts.items() if self._is_of_this_work(found)]

    def _is_of_this_work(self, found: dict[str, Any]) -> bool:
        """Not of other work, nor of before a person asked for it anew."""
        return bool((found["e"], found["tf"]) == (self._unit.epoch, self._unit.fingerprint[:16]))

    async def _texts(self) -> dict[str, str]:
        async with self._reading:
            if self._known is None:
                try:
                    self._known = await self._journal.store.read(self._run, self._unit.name)
                except Unavailable as error:
                    self._failed(error)
                    raise
            return self._known

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, StaleToken):
            self._unit.lost = error
        if isinstance(error, (StaleToken, Unavailable)) and self._on_failure is not None:
            self._on_failure(error)

    def _diverge(self, path: str, begun: Begun) -> None:
        if self._strict:
            raise Diverged(
                f"the step {path!r} of {self._unit.name!r} was called with other arguments, or in another version, "
                "than in the attempt that the journal knows; make the agent deterministic, or run it without strict"
            )
        begun.diverged = True
        _log.warning("journal.diverged %s: from the step %r on it runs live", self._unit.name, path)


def _fingerprint(version: str, arguments: tuple[Any, ...]) -> str:
    """Of a step's version and those of its arguments that are JSON; others do not count."""
    plain = []
    for argument in arguments:
        try:
            plain.append(to_json(argument, "argument"))
        except Misuse:
            plain.append(None)
    return content_hash([version, plain])[:32]
