"""Outputs that records refer to: a replay hands out no reference that leads nowhere, as the artifact store says.

Only this is looked at, nothing is read; and only what lies in the run's own store. Where that does not answer, nothing
is known to be missing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping

from coterie._rules.journal_text import Record
from coterie.artifacts import ArtifactStore
from coterie.errors import CoterieError
from coterie.ref import Ref
from coterie.result import output_from_dict

__all__ = ["gone_outputs", "records_with_outputs"]

_log = logging.getLogger("coterie.journal")

_KINDS = ("task/", "item/")
# What every record of a reference has in it, so that others need not be read.
_MARK = '"ref":'


async def gone_outputs(artifacts: ArtifactStore | None, records: Iterable[Record]) -> frozenset[str]:
    """The places of the outputs of these records that are not in the store any more."""
    refs = [] if artifacts is None else list(_references(records))
    if artifacts is None or not refs:
        return frozenset()
    try:
        return frozenset(ref.uri for ref in await artifacts.missing(refs))
    except CoterieError as error:
        _log.warning("journal.outputs_not_looked_at %s: %s", artifacts.url, error)
        return frozenset()


def records_with_outputs(texts: Mapping[str, str]) -> Iterator[Record]:
    """Those of a run's texts; what cannot be read is left to whoever asks for it."""
    for path, text in texts.items():
        if path.startswith(_KINDS) and _MARK in text:
            try:
                yield Record.read(text, path)
            except CoterieError:
                continue


def _references(records: Iterable[Record]) -> Iterator[Ref]:
    for record in records:
        output = output_from_dict(record.result.get("output")) if record.succeeded else None
        if isinstance(output, Ref):
            yield output
