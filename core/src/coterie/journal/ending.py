"""The text of a record: how a unit of work ended. Written thousands of times for every one that is read."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from coterie._json import canonical_bytes
from coterie._rules.journal import RUN
from coterie._rules.journal_text import FINGERPRINT_DIGITS, FORMAT, LOCAL, Claim, Record, dumped
from coterie._rules.refusal import Refusal, RefusalText, refusal_text
from coterie.attempt import Ended
from coterie.context import TaskContext
from coterie.ids import output_line
from coterie.journal.intent import Intent
from coterie.journal.results import MOST_CHARS, too_large, unwritable, written
from coterie.journal.unit import Unit
from coterie.ref import Ref
from coterie.trail import Trail, laps_text

__all__ = ["Ending"]

# Of no output: its text, and its SHA-256.
_NOTHING = '"value":null', sha256(b"null").hexdigest()


class Ending:
    """Writes the records of one engine's run."""

    def __init__(self, intent: Intent) -> None:
        self._intent = intent
        # What all records of the run have alike.
        by = "" if intent.engine_run == LOCAL else f',"by":{dumped(intent.engine_run)}'
        self._given = {intent.engine_run: intent.demand} if intent.demand else {}
        self._alike = f'{by},"g":{dumped(self._given)}' if self._given else by

    def written(self, unit: Unit, context: TaskContext, ended: Ended, at: float) -> tuple[Ended, str]:
        """The record of an end, and the end itself: an output that cannot be in a record makes it a failure.

        at: seconds since the epoch.
        """
        try:
            ordinary = ended.state == "succeeded" and unit.given == self._given and not unit.forced
            write = self._success if ordinary and not context.usage_reported else self._any
            text = write(unit, context, ended, at)
            if not text.isascii():
                text.encode()
            if len(text) <= MOST_CHARS:
                return ended, text if context.noted is None else _with_laps(text, context.noted)
            error = too_large(context.task_id, len(text))
        # Of huge numbers, and of half characters.
        except (ValueError, RecursionError) as problem:
            error = unwritable(context.task_id, problem)
        if context.item_key is None:
            context.run.output_lines.pop(context.task_id, None)
        ended = ended._replace(state="failed", output=None, error=error)
        text = self._any(unit, context, ended, at)
        return ended, text if context.noted is None else _with_laps(text, context.noted)

    def refusal(self, unit: Unit, context: TaskContext, ended: Ended, at: float, *, final: bool) -> RefusalText:
        """What is told of an end that is not kept. at: seconds since the epoch. final: as of `Refusal`."""
        trail = context.noted
        laps, more = (tuple(trail.laps), trail.more) if trail is not None else ((), 0)
        record = replace(self._record(unit, context, ended, at), laps=laps, more=more)
        token = Claim.read(unit.guard.text, unit.guard.path).token
        return refusal_text(unit.name, Refusal(record, token, unit.guard.path == RUN.claim, final))

    def _any(self, unit: Unit, context: TaskContext, ended: Ended, at: float) -> str:
        return self._record(unit, context, ended, at).text()

    def _record(self, unit: Unit, context: TaskContext, ended: Ended, at: float) -> Record:
        usage = {name: value for name, value in context.usage.to_dict().items() if value}
        fingerprint, by = unit.fingerprint[:FINGERPRINT_DIGITS], self._intent.engine_run
        result, forced = written(ended), unit.forced
        return Record(unit.epoch, fingerprint, result, by, at, usage, unit.given, forced=forced)

    def _success(self, unit: Unit, context: TaskContext, ended: Ended, at: float) -> str:
        """What `_any` gives of an ordinary success, put together by hand: half the time of it is JSON otherwise."""
        output = ended.output
        if output is None:
            value, digest = _NOTHING
        elif isinstance(output, Ref):
            value, digest = f'"ref":{dumped(output.serialize())}', output.sha256
        else:
            content = canonical_bytes(output)
            value, digest = f'"value":{content.decode()}', sha256(content).hexdigest()
        if context.item_key is None:
            context.run.output_lines[context.task_id] = output_line(context.task_id, digest)
        # Agents' ids need no escapes.
        agent = f',"agent_id":"{ended.agent_id}"' if ended.agent_id else ""
        return (
            f'{{"v":{FORMAT},"e":{unit.epoch},"fp":"{unit.fingerprint[:FINGERPRINT_DIGITS]}","at":{at:.3f},'
            f'"r":{{"state":"succeeded","output":{{{value}}},"attempts":{ended.attempts}{agent},'
            f'"duration_s":{ended.duration_s:.6f}}}{self._alike}}}'
        )


def _with_laps(text: str, trail: Trail) -> str:
    """The record with what the work went through, unless that makes it too large: it is the end that counts."""
    if not trail.laps:
        return text
    longer = f'{text[:-1]},"tl":{dumped(laps_text(tuple(trail.laps), trail.more))}}}'
    return longer if len(longer) <= MOST_CHARS else text
