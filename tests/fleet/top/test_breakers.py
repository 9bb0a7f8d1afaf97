"""`coterie top` says of a breaker that is not closed what it opened after, as far as there is room."""

from __future__ import annotations

from coterie.cli.top.layout import PLAIN, Laid, laid_out
from coterie.cli.top.tables import TABLES
from tests.fleet.top.frames import NOW, SECOND, a_breaker

ERROR = "ConnectionError: 503 Service Unavailable: model overloaded, try again in some minutes, or call another model"


def laid(width: int, error: str | None = ERROR) -> Laid:
    table = TABLES["breakers"]
    rows = [a_breaker("checker-1", "open", until_us=NOW + 12 * SECOND, calls=0, error=error)]
    return laid_out(table.columns, [table.cells(row, NOW, PLAIN) for row in rows], width)


def test_what_it_opened_after_is_cut_to_the_width():
    assert laid(80).head.plain.rstrip().endswith("AFTER")
    assert laid(80).lines[0].plain.startswith("checker-1  open    30 s      in 12 s  ConnectionError: 503 Service")
    assert laid(80).lines[0].plain.endswith("…")
    assert laid(200).lines[0].plain.rstrip().endswith(ERROR)


def test_it_stays_longer_than_since_when():
    narrow = laid(60).lines[0].plain

    assert "ConnectionError" in narrow
    assert laid(50).head.plain.split() == ["BREAKER", "STATE", "TRIES", "AGAIN", "AFTER"]


def test_where_nothing_is_known_there_is_no_column():
    assert "AFTER" not in laid(200, None).head.plain
