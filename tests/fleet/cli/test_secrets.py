"""Secrets that are planted everywhere come out nowhere: neither in logs, nor in what commands write, nor in errors."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fleet.cli.places import PASSWORD
from tests.support.redis_servers import SYNCED, Server, valkey

KEY = "sk-live-0123456789abcdef0123"
TOKEN = "tok-8c1f0e5b77aa"
BARE = "correct-horse-battery"
SECRETS = (PASSWORD, KEY, TOKEN, BARE)

LEAKY = """
import logging, os, warnings
from coterie import Plan, Retry, Task, Team

team = Team("leaky")
afar = Team("afar")
afar.remote("leaks")

async def leaks(task_input, ctx):
    key = task_input["api_key"]
    ctx.logger.warning("calling with api_key=%s", key)
    logging.getLogger("library").warning("GET https://api.example/v1?token=%s&page=2", task_input["token"])
    try:
        raise ValueError(f"{os.environ['COTERIE_STORE']} and {os.environ['PROVIDER_PASSWORD']}")
    except ValueError as error:
        error.add_note(f"Authorization: Bearer {task_input['token']}")
        raise RuntimeError(f"401: the key {key} is revoked") from error

team.agent("leaks", retry=Retry(max_attempts=2, base_s=0.0))(leaks)

plan = Plan("leaky", [Task("leak", "leaks", input={"api_key": {"$param": "api_key"}, "token": {"$param": "token"}})],
            params={"api_key": "", "token": ""})
"""
PARAMS = ("-p", f"api_key={KEY}", "-p", f'token="{TOKEN}"')


@contextmanager
def served() -> Iterator[Server]:
    """A server that a strict journal trusts."""
    with valkey(user="fleet", password=PASSWORD, arguments=SYNCED) as running:
        with running.client() as client:
            client.execute_command("ACL", "SETUSER", "fleet", "+config|get")
        yield running


@pytest.fixture(scope="module")
def synced() -> Iterator[Server]:
    with served() as running:
        yield running


@pytest.fixture
def leaky(folder, synced, monkeypatch):
    """A team that says all it knows, at a store that wants a password."""
    (folder / "leaky.py").write_text(LEAKY)
    monkeypatch.setenv("COTERIE_STORE", synced.url)
    monkeypatch.setenv("COTERIE_NAMESPACE", f"test-{os.urandom(6).hex()}")
    monkeypatch.setenv("PROVIDER_PASSWORD", BARE)
    return folder


def clean(text: str) -> str:
    for secret in SECRETS:
        assert secret not in text, f"{secret} came out:\n{text}"
    return text


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("before", [[], ["--debug"]])
def test_a_run_lets_none_out(coterie, leaky, form, before):
    done = coterie(*before, "run", "leaky:plan", "-t", "leaky:team", "--run-id", "r1", "--log-format", form, *PARAMS)

    assert done.returncode == 1
    assert "401: the key *** is revoked" in clean(done.stdout)
    assert "401: the key *** is revoked" in clean(done.stderr)
    shown = coterie("runs", "show", "r1")
    assert "401: the key *** is revoked" in clean(shown.stdout + shown.stderr)


def test_in_json_every_line_is_an_object_that_carries_its_task(coterie, leaky):
    done = coterie("run", "leaky:plan", "-t", "leaky:team", "--run-id", "r1", "--log-format", "json", *PARAMS)

    lines = [json.loads(line) for line in done.stderr.splitlines()]
    told = {line["event"]: line for line in lines if "event" in line}
    assert list(told)[:2] == ["run.started", "task.started"]
    assert list(told)[-1] == "run.finished"
    assert told["task.retrying"]["attempt"] == 1
    library = [line for line in lines if line["logger"] == "library"]
    assert [(line["run"], line["task"], line["attempt"]) for line in library] == [("r1", "leak", 1), ("r1", "leak", 2)]
    failed = told["task.failed"]
    assert failed["error"]["type"] == "RuntimeError"
    assert "The above exception was the direct cause" in failed["error"]["stack"]


def test_what_a_command_says_of_itself_is_json_too(coterie, leaky):
    done = coterie("run", "leaky:absent", "-t", "leaky:team", "--log-format", "json")

    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["level"], done.returncode) == ("error", 2)
    assert "absent" in line["message"]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.usefixtures("leaky")
def test_nor_does_a_worker(coterie, start, form):
    with start("worker", "-t", "leaky:team", "--log-format", form) as worker:
        done = coterie("run", "leaky:plan", "-t", "leaky:afar", "--run-id", "r1", *PARAMS)
        worker.send_signal(signal.SIGTERM)
        out, err = worker.communicate(timeout=60)

    assert "401: the key *** is revoked" in clean(done.stdout)
    clean(done.stderr)
    clean(out + err)
    if form == "console":
        return
    lines = [json.loads(line) for line in (out + err).splitlines()]
    (library, *_) = [line for line in lines if line["logger"] == "library"]
    assert (library["run"], library["task"]) == ("r1", "leak")
    assert lines[-1]["message"].endswith("it has left")


@pytest.mark.parametrize(
    "url", ["redis://fleet:{password}@127.0.0.1:1/0", "redis://fleet:{password}x@{there}/0", "redis://{password}@h@h/0"]
)
@pytest.mark.parametrize(
    "command",
    ["status", "workers", "runs", "events topics", "doctor", "run leaky:plan -t leaky:team"],
)
@pytest.mark.usefixtures("leaky")
def test_nor_does_a_store_that_fails(invoke, synced, monkeypatch, url, command):
    monkeypatch.setenv("COTERIE_STORE", url.format(password=PASSWORD, there=f"127.0.0.1:{synced.port}"))

    done = invoke(*command.split())

    assert done.exit_code in (1, 2)
    clean(done.output + done.stderr + repr(done.exception))


def test_nor_one_that_goes_away_during_a_run(coterie, start, leaky, monkeypatch):
    slow = LEAKY.replace("key = task_input", "import asyncio; await asyncio.sleep(1.5); key = task_input")
    (leaky / "slow.py").write_text(slow)
    with served() as going:
        monkeypatch.setenv("COTERIE_STORE", going.url)
        with start("run", "slow:plan", "-t", "slow:team", "--run-id", "r1", "--log-format", "json", *PARAMS) as process:
            assert process.stderr is not None
            seen = process.stderr.readline()
            time.sleep(0.3)
            going.kill()
            out, err = process.communicate(timeout=90)
        going.start()

    clean(seen + out + err)
    assert process.returncode != 0
    assert "redis://127.0.0.1" in err


def test_nor_an_artifact_store_whose_url_holds_some(invoke, leaky):
    done = invoke("run", "leaky:plan", "-t", "leaky:team", "--artifacts", f"s3://id:{TOKEN}@bucket/x")

    assert done.exit_code == 2
    assert "carries credentials" in clean(done.output + done.stderr)
