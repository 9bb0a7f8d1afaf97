"""What an answer means: outcomes by status, Retry-After, excerpts that repeat no secret."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coterie.agents import AgentRejected, AgentThrottled, AgentUnavailable, BadAnswer
from coterie.agents.answers import (
    MAX_RETRY_AFTER_S,
    Answer,
    excerpt,
    failure,
    is_transient,
    parse_json,
    retry_after_s,
)

NOW = 1_795_000_000.0  # Wed, 18 Nov 2026 11:06:40 GMT


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "99999999999"}, MAX_RETRY_AFTER_S),
        ({"retry-after": "Wed, 18 Nov 2026 11:07:10 GMT"}, 30.0),
        ({"retry-after": "Wed, 18 Nov 2026 11:06:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, MAX_RETRY_AFTER_S),
        # The server's clock is an hour ahead: its own Date says so.
        ({"retry-after": "Wed, 18 Nov 2026 12:07:10 GMT", "date": "Wed, 18 Nov 2026 12:06:40 GMT"}, 30.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(headers: dict[str, str], wait_s: float | None):
    assert retry_after_s(headers, NOW) == wait_s


@settings(deadline=None)
@given(st.text(), st.text())
@example("Mon, 01 Jan 0001 00:00:00 +2359", "")
def test_no_retry_after_breaks_anything(text: str, date: str):
    wait_s = retry_after_s({"retry-after": text, "date": date}, NOW)

    assert wait_s is None or 0 <= wait_s <= MAX_RETRY_AFTER_S


def test_every_status_has_one_outcome():
    transient = {status for status in range(400, 600) if is_transient(status)}

    assert transient == {408, 425, 429, *range(500, 600)}
    for status in range(400, 600):
        error = failure(Answer(status, {"retry-after": "2"}, b"no"), "x", secrets=(), now=NOW)
        wanted = AgentThrottled if status == 429 else AgentUnavailable if status in transient else AgentRejected
        assert type(error) is wanted
        assert error.status == status
        if isinstance(error, AgentUnavailable):
            assert error.retry_after_s == 2.0


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8", "application/a+json"])
def test_json_is_known_by_its_type(media_type: str):
    assert parse_json(Answer(200, {"content-type": media_type}, b'{"a": [1, null]}'), "x", secrets=()) == {
        "a": [1, None]
    }


def test_no_content_is_null():
    assert parse_json(Answer(204, {}, b""), "x", secrets=()) is None


@pytest.mark.parametrize(
    ("media_type", "body", "message"),
    [
        ("text/html", b"<h1>Log in</h1>", "answered with 'text/html': '<h1>Log in</h1>'; let it answer"),
        ("", b"{}", "answered with 'no content type'"),
        ("application/json", b'{"a": ', "did not answer with JSON"),
        ("application/json", b"", "did not answer with JSON"),
        ("application/json", b"NaN", "did not answer with JSON"),
        ("application/json", b"\xff\xfe\x00", "did not answer with JSON"),
        ("application/json", b"[" * 100_000, "did not answer with JSON"),
        ("application/json", b"1" * 10_000, "did not answer with JSON"),
    ],
)
def test_what_is_no_json_is_a_bad_answer(media_type: str, body: bytes, message: str):
    with pytest.raises(BadAnswer, match=message) as caught:
        parse_json(Answer(200, {"content-type": media_type}, body), "x", secrets=())

    assert caught.value.status == 200
    assert len(str(caught.value)) < 300


@settings(deadline=None)
@given(st.binary(max_size=500), st.booleans())
@example("a\x00b\x1b[2J\u202etxt.exe\r\nSet-Cookie".encode(), False)
def test_an_excerpt_is_one_short_line_without_control_characters(body: bytes, cut: bool):
    text = excerpt(Answer(500, {}, body, cut), ["sesame"])

    assert len(text) <= 120
    assert not [letter for letter in text if unicodedata.category(letter) in {"Cc", "Cf", "Zl", "Zp"}]


@settings(deadline=None)
@given(
    st.text(max_size=150), st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=8, max_size=40)
)
@example("", 'a"b\\c/d-e')
def test_an_excerpt_never_repeats_a_secret(before: str, secret: str):
    for form in (secret, secret.replace("\\", "\\\\").replace('"', '\\"')):
        text = excerpt(Answer(500, {}, f"{before}{form} and more".encode(errors="replace")), [secret])

        assert secret not in text
        assert form not in text


def test_a_secret_that_is_cut_in_two_is_not_shown_by_half():
    text = excerpt(Answer(500, {}, b"token: open-ses", cut=True), ["open-sesame"])

    assert "open" not in text
