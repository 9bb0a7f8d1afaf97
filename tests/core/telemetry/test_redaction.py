"""What looks like a credential is struck out of texts; ordinary words stay."""

from __future__ import annotations

import json
import time

import pytest

from coterie import _secrets
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


# As people and programs write: with blanks, with either quote, with backslashes.
AWKWARD = "ab'cd 12\"34\\xy"


def as_json(document: object) -> str:
    return json.dumps(document)


def quoted_in_json(document: object) -> str:
    return json.dumps({"body": json.dumps(document), "status": 401})


def quoted_twice(document: object) -> str:
    return json.dumps({"body": quoted_in_json(document), "status": 502})


def quoted_in_python(document: object) -> str:
    return repr({"body": json.dumps(document), "status": 401})


def quoted_in_python_twice(document: object) -> str:
    return repr({"body": repr(document), "status": 401})


@pytest.mark.parametrize(
    "form", [as_json, repr, quoted_in_json, quoted_twice, quoted_in_python, quoted_in_python_twice]
)
@pytest.mark.parametrize(
    "secret", ["x", "two words 12", "it's 1 of them", 'say "12" now', "C:\\a\\b", AWKWARD, 12345678]
)
def test_of_a_document_the_whole_value_is_struck_out_and_nothing_else(form, secret):
    text = form({"before": "a, b", "password": secret, "model": "the 'm' model", "max_tokens": 1200345})

    expected = form({"before": "a, b", "password": "***", "model": "the 'm' model", "max_tokens": 1200345})
    assert unquoted(redacted(text)) == unquoted(expected)


def unquoted(text: str) -> str:
    """Without quotes and backslashes: which of them stand around a text depends on what is in it."""
    return "".join(each for each in text if each not in "'\"\\")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("password='two words 123', user=u", "password='***', user=u"),
        ("""password="it's hunter2" rejected""", """password="***" rejected"""),
        ("""password: "it's hunter2" rejected""", """password: "***" rejected"""),
        ("""Settings(api_key='it\\'s mine', n=3)""", """Settings(api_key='***', n=3)"""),
        ("api_key => 'q7 Wn2k'", "api_key => '***'"),
        ('said "password=\\"two words\\" is wrong"', 'said "password=\\"***\\" is wrong"'),
        ("{'password': 12345678, 'n': 1}", "{'password': ***, 'n': 1}"),
        ('{"pwd": 123456.75}', '{"pwd": ***}'),
        ('"token": "cut off in the mid', '"token": "***'),
        ("token = 'one'\nthe next line", "token = '***'\nthe next line"),
    ],
)
def test_a_value_is_struck_out_up_to_its_own_quote(text, clean):
    assert redacted(text) == clean
    assert redacted(clean) == clean


@pytest.mark.parametrize(
    "text",
    [
        "give it as key=value pairs, one a line",
        "monkey: banana, donkey: 'carrot and stick', turkey = 3",
        "{'token': 3, 'tokens': 12, 'secret': True, 'password': None}",
        '{"input_tokens": 1200345, "output_tokens": 90210033, "total_tokens": 91410378}',
        '{\\"input_tokens\\": 1200345}',
        "usage: max_tokens=4096, tokens=1200345, prompt_tokens: 123456789012",
        "The secret of a good team: everybody knows who does what.",
        "She forgot her password; the page says: 'try again, or ask an admin'.",
        "the token has expired, ask for another: see the manual, page 12",
        '{"signature": null, "credentials": [], "password": ""}',
        "password='' and token=\"\" are empty",
        'said "token=\\"\\""',
        "if token == expected: raise KeyError('token')",
        "assert password != other_password",
        "tokens.filter(token => token.id)",
        "File \"/srv/app/secrets.py\", line 3, in load_token\n    return tokens[name]\nKeyError: 'api_key'",
        "TypeError: login() missing 1 required positional argument: 'password'",
        "json.decoder.JSONDecodeError: Expecting ',' delimiter: line 1 column 9 (char 8)",
        "GET https://api.example:8443/v1/keys/list?page=2&sort_key=name HTTP/1.1 404",
        "https://pages.example/how-to/secret-santa#basic-rules",
        "def sign(key: str, token: str | None, *, secret: bytes) -> None: ...",
        "C:\\keys\\token.txt is not there",
        'sort_key=name, primary key: (id, name), foreign key: "order"',
    ],
)
def test_ordinary_texts_stay_as_they_are(text):
    assert redacted(text) == text


PASSWORDS = ["hunter2x", "hunter2x-prod-9Zk", "prod-9Zk"]


@pytest.mark.parametrize("secrets", [PASSWORDS, PASSWORDS[::-1], [PASSWORDS[1], *PASSWORDS], frozenset(PASSWORDS)])
def test_of_secrets_of_which_one_holds_another_the_whole_is_struck_out(secrets):
    said = "login with hunter2x-prod-9Zk refused, and with hunter2x"

    assert redacted(said, secrets) == "login with *** refused, and with ***"


def test_a_secret_that_begins_as_a_path_does_is_struck_out_and_a_path_is_not(monkeypatch, tmp_path):
    secret = "/JalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYxx"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setenv("SERVICE_TOKEN", f"~{'k' * 300}")
    monkeypatch.setenv("SIGNING_KEY", str(tmp_path))
    monkeypatch.setenv("SSH_PRIVATE_KEY", "~")

    said = f"{secret} and ~{'k' * 300} refused: see {tmp_path}/log and ~/.ssh/id"

    assert redacted(said, _secrets.known()) == f"*** and *** refused: see {tmp_path}/log and ~/.ssh/id"


FERNET = "81HqDtbqAywKSOumSha3BhWNOdQ26slT6K0YaZeZyPs="
KEYS = {
    "AIRFLOW__CORE__FERNET_KEY": FERNET,
    "AZURE_OPENAI_KEY": "0f3c9a7be1d24c58",
    "SORT_KEY": "created",
    "KEY": "a" * 20,
}


def test_what_is_a_key_by_its_name_is_struck_out_where_it_is_as_long_as_one(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)

    said = f"InvalidToken for {FERNET}; 401 for 0f3c9a7be1d24c58; ordered by created; {'a' * 20}"

    assert redacted(said, _secrets.known()) == f"InvalidToken for ***; 401 for ***; ordered by created; {'a' * 20}"


def test_so_it_is_of_the_variables_of_another_program():
    assert _secrets.secrets_in(KEYS) == {FERNET, "0f3c9a7be1d24c58"}
    assert _secrets.secrets_in({"fernet_key": FERNET, "SORT_KEY": "created"}) == {FERNET}


@pytest.mark.parametrize(
    ("url", "passwords"),
    [
        ("redis://fleet:pa:ss:word@host/0", {"pa:ss:word"}),
        ("redis://:p%40ss@host/0", {"p%40ss", "p@ss"}),
        ("redis://host:6379/0", set()),
        ("redis://fleet@host:6379/0", set()),
    ],
)
def test_the_password_in_a_url_is_known_whole(url, passwords):
    assert _secrets.secrets_in({"STORE": url}) == passwords


def test_secrets_that_are_known_are_struck_out_whatever_they_look_like():
    assert redacted("said: correct horse", ["correct horse", ""]) == "said: ***"


def test_words_too_short_for_a_secret_stay():
    assert redacted("the last test", ["test"]) == "the last test"


@pytest.mark.parametrize(
    "part", ["a", "-", "key_", "token", "token:", "://", "eyJ-", "a-", "a.", "token ", "sk-a ", "'\\\""]
)
def test_a_long_text_is_looked_at_once(part):
    # Looked at again from each place, it would take hours.
    text = part * (1_000_000 // len(part))

    assert redacted(text) == text


LONG_PARTS = ["'", "\\", "\\'", 'token=\\"', '"token": "\\\\', "token: 'ab\""]


@pytest.mark.parametrize("part", LONG_PARTS)
@pytest.mark.parametrize("before", ["", 'token="', '\\"token\\": \\"'])
def test_sixteen_times_the_text_is_no_square_of_the_work_however_many_quotes_it_has(before, part):
    short, long = (before + part * (length // len(part)) for length in (20_000, 320_000))

    # Looked at again from each place, it would be 256 times. A long text needs more memory: that costs something, too.
    assert work(long) < 100 * work(short)


def work(text: str) -> float:
    """Of the processor, the least of three times; another process cannot add to it much."""
    took = []
    for _ in range(3):
        before = time.process_time()
        redacted(text)
        took.append(time.process_time() - before)
    return min(took)


def test_a_long_variable_is_looked_at_once():
    assert _secrets.secrets_in({"PLACE": "://" + ":" * 1_000_000}) == frozenset()


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
