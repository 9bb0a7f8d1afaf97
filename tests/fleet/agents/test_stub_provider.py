"""The stand-in provider as a program of its own, told what to do over HTTP; it needs nothing but Python."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        # -S -E: without the packages of this environment, as any other would run it.
        [sys.executable, "-S", "-E", "-m", "tests.support.stub_provider", "--port", "0"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    with started:
        yield started
        if started.poll() is None:
            started.kill()


def ask(url: str, method: str, path: str, document: Any = None) -> tuple[int, dict[str, str], Any]:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request(method, path, json.dumps(document) if document is not None else None)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), json.loads(answer.read())
    finally:
        connection.close()


def test_it_prints_its_address_obeys_remembers_and_ends(process: subprocess.Popen[str]):
    assert process.stdout is not None
    url = process.stdout.readline().strip()

    assert ask(url, "POST", "/a", {"n": 1})[2] == {"echo": {"n": 1}}
    ask(url, "POST", "/-/fail", {"retry_after": "2"})
    assert ask(url, "POST", "/a", {"n": 2})[:2][0] == 503
    assert ask(url, "POST", "/b", {"n": 3})[1]["Retry-After"] == "2"
    ask(url, "POST", "/-/heal")
    assert ask(url, "POST", "/a", {"n": 4})[0] == 200
    behaviours = [{"status": 500, "times": 2}, {"body": "well"}]
    ask(url, "POST", "/-/script", {"path": "/a", "behaviours": behaviours})
    statuses = [ask(url, "POST", "/a", {})[0] for _ in range(4)]
    assert statuses == [500, 500, 200, 200]
    assert ask(url, "POST", "/b", {})[2] == {"echo": {}}

    seen = ask(url, "GET", "/-/requests")[2]
    assert [each["path"] for each in seen] == ["/a", "/a", "/b", "/a", "/a", "/a", "/a", "/a", "/b"]
    assert [json.loads(each["body"])["n"] for each in seen[:4]] == [1, 2, 3, 4]
    assert seen[0]["at"] <= seen[-1]["at"]
    ask(url, "DELETE", "/-/requests")
    assert ask(url, "GET", "/-/requests")[2] == []
    assert ask(url, "GET", "/-/nothing")[0] == 404

    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_it_speaks_chat_completions(process: subprocess.Popen[str]):
    assert process.stdout is not None
    url = process.stdout.readline().strip()

    _, _, answer = ask(url, "POST", "/v1/chat/completions", {"model": "m", "messages": [{"content": "hello"}]})

    assert answer["choices"][0]["message"]["content"] == "hello"
    assert answer["usage"]["prompt_tokens"] == 100
