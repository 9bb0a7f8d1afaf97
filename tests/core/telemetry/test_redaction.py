"""What looks like a credential is struck out of texts; ordinary words stay."""

from __future__ import annotations

import pytest

from coterie._rules.redaction import is_secret_name, redacted
from coterie.bus.received import said
from coterie.result import ErrorInfo


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("redis://fleet:p@ss@host:6379/0 is away", "redis://***@host:6379/0 is away"),
        ("redis+sentinel://:secret@h1,h2/main", "redis+sentinel://***@h1,h2/main"),
        ("GET https://api.example/x?token=abc&page=1", "GET https://api.example/x?token=***&page=1"),
        ("https://s3.example/k?X-Amz-Signature=0a1b", "https://s3.example/k?X-Amz-Signature=***"),
        ("POST /f?page=2&code=a1b2c3d4 said no", "POST /f?page=2&code=*** said no"),
        ("https://maps.example/x?key=a1b2c3d4#top", "https://maps.example/x?key=***#top"),
        ("Authorization: Bearer abcdefgh.ijkl", "Authorization: Bearer ***"),
        ('{"api_key": "short", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("{'client_secret': 'x y'}", "{'client_secret': '***'}"),
        ("OPENAI_API_KEY=abc", "OPENAI_API_KEY=***"),
        ("password: hunter2hunter2", "password: ***"),
        ("401 for sk-live-abcdef123456", "401 for ***"),
        ("AKIAABCDEFGHIJKLMNOP is not allowed", "*** is not allowed"),
        ("eyJhbGciOiJIUzI1.eyJzdWIiOiIx.c2ln", "***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\nAAA\n-----END RSA PRIVATE KEY-----\nend", "***\nend"),
    ],
)
def test_a_credential_is_struck_out(text, clean):
    assert redacted(text) == clean
    assert redacted(clean) == clean


@pytest.mark.parametrize(
    "text",
    [
        "unexpected token: '}' at line 3",
        "unexpected token: foo",
        "max_tokens=4096, input_tokens=12",
        "KeyError: 'api_key'",
        "the password is wrong",
        "https://pages.example/list?key=a&code=404, exit code=1000000, key=anything",
        "no key: task-security-scan-of-everything",
        "redis://127.0.0.1:6379/0 (named by COTERIE_STORE) failed to read",
        "file:///srv/a@b/c and mail to a@b.example",
        "give user:password@, or :password@",
        "",
    ],
)
def test_ordinary_words_stay(text):
    assert redacted(text) is text or redacted(text) == text


def test_secrets_that_are_known_are_struck_out_whatever_they_look_like():
    assert redacted("said: correct horse", ["correct horse", ""]) == "said: ***"


def test_words_too_short_for_a_secret_stay():
    assert redacted("the last test", ["test"]) == "the last test"


@pytest.mark.parametrize("part", ["a", "-", "key_", "token", "token:", "://", "eyJ-", "a-", "a.", "token ", "sk-a "])
def test_a_long_text_is_looked_at_once(part):
    # Looked at again from each place, it would take hours.
    text = part * (1_000_000 // len(part))

    assert redacted(text) == text


@pytest.mark.parametrize(
    "name", ["api_key", "OPENAI_API_KEY", "X-Api-Key", "password", "token", "GITHUB_TOKEN", "Authorization"]
)
def test_names_of_secrets_are_known(name):
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["tokens", "key", "monkey", "max_tokens", "PATH", "tokenizer", "item_key"])
def test_other_names_are_not(name):
    assert not is_secret_name(name)


def test_what_is_kept_of_an_error_has_none():
    error = RuntimeError("GET https://api.example/?token=abc said no")

    assert str(ErrorInfo.of(error)) == "RuntimeError: GET https://api.example/?token=*** said no"
    # Why an event was given up, as its dead letter says.
    assert said(error) == said(str(ErrorInfo.of(error))) == "RuntimeError: GET https://api.example/?token=*** said no"


def test_a_secret_at_the_end_of_what_is_kept_is_not_kept_in_part():
    error = RuntimeError("x" * 290 + " redis://user:a-long-password-that-goes-on@host/0")

    assert "a-long" not in str(ErrorInfo.of(error))
