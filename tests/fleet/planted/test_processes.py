"""Secrets that are planted in a real team, its servers and its processes are nowhere in what is said of its work.

What holds inputs holds their secrets too, and is not searched: the journal, artifacts, the store's messages of tasks.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from urllib.parse import quote

import pytest

from tests.fleet.planted.conftest import RUN, TEAM, Work
from tests.fleet.planted.secrets import ARTIFACTS, SECRETS, STORE, TOKEN, leaks

LOOKS = [
    f"runs show {RUN}",
    f"runs show {RUN} --json",
    f"runs diff {RUN}",
    "runs list --json",
    f"trace show {RUN} --depth 3 --limit 200",
    f"trace show {RUN} --json",
    f"top --once --team {TEAM}:told",
    f"doctor --team {TEAM}:told --json",
    "status --json",
    "workers --json",
    "events replay --json",
    "events topics --json",
    "dlq list --all-topics --json",
]


@pytest.mark.parametrize("what", SECRETS)
@pytest.mark.parametrize("before", ["", "a", "ab", "fleet:"])
def test_a_secret_is_found_in_whatever_form_it_comes_out(what: str, before: str):
    text = f"{before}{SECRETS[what]}@place"
    encoded = base64.b64encode(text.encode()).decode(), base64.urlsafe_b64encode(text.encode()).decode()

    for form in (text, quote(text, safe=""), json.dumps(text), repr(text), *encoded, text.encode().hex()):
        assert [leak for leak in leaks({"here": form}) if leak.startswith(what)] != [], form


def test_the_agents_were_told_their_secrets_and_failed(work: Work):
    token = quote(TOKEN, safe="")

    assert {one.path for one in work.provider.requests} == {f"/ok?token={token}&page=2", f"/no?code={token}"}
    for kind in ("AgentRejected", "CommandFailed", "RuntimeError"):
        assert kind in work.run.stdout
        assert kind in work.log()


def test_the_run_itself_tells_none(work: Work):
    assert leaks({"out": work.run.stdout, "err": work.run.stderr}) == []


def test_nor_does_its_worker_where_everything_is_logged(work: Work):
    log = work.log()

    assert "headers: {'Authorization': 'Bearer ***'}" in log
    assert "the store is redis://***@127.0.0.1" in log
    assert {"debug", "info", "warning"} <= {json.loads(line)["level"] for line in log.splitlines()}
    assert leaks({"the worker's log": log}) == []


def test_no_span_of_either_process_has_one(work: Work):
    spans = {path.name: path.read_text() for path in (work.folder / "spans").iterdir()}
    every = "".join(spans.values())

    assert len(spans) == 2
    for name in ("invoke_workflow loose", "execute_task leak", "invoke_agent fetches", "exception.message"):
        assert name in every
    assert leaks(spans) == []


def test_no_metric_has_one(work: Work):
    assert 'agent_type="leaks",outcome="failed"' in work.metrics
    assert leaks({"the worker's metrics": work.metrics}) == []


@pytest.mark.parametrize("words", LOOKS)
def test_no_command_that_looks_at_it_tells_one(work: Work, words: str):
    done = work.command(*words.split())

    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert leaks({"out": done.stdout, "err": done.stderr}) == []


def test_the_page_has_none(work: Work):
    path = work.folder / "page.html"

    work.command("trace", "show", RUN, "--html", str(path))

    page = path.read_text()
    assert "RuntimeError" in page
    assert leaks({"the page": page}) == []


@pytest.mark.parametrize("store", ["the right one", "a wrong password"])
def test_no_page_that_is_served_has_one(work: Work, store: str):
    url = work.server.url if store == "the right one" else work.server.url.replace("@", "-not@")
    with work.serving(COTERIE_STORE=url) as (at, log):
        pages = {path: fetched(f"{at}{path}") for path in ("", f"runs/{RUN}", f"runs/{RUN}.json", "runs/nobody")}

    assert ("RuntimeError" in pages[f"runs/{RUN}"]) is (store == "the right one")
    assert all(pages.values())
    assert leaks(pages | {"its standard error": log.read_text()}) == []


def fetched(url: str) -> str:
    """What is answered, well or not."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()


def test_artifacts_at_a_url_with_a_login_are_refused_without_it(work: Work):
    url = f"s3://coterie:{quote(ARTIFACTS)}@bucket/x"
    words = ["--debug", "run", f"{TEAM}:plan", "-t", f"{TEAM}:told"]

    named, set_ = work.command(*words, "--artifacts", url), work.command(*words, COTERIE_ARTIFACTS=url)

    for done in (named, set_):
        assert done.returncode == 2
        assert "carries credentials" in done.stderr
        assert leaks({"out": done.stdout, "err": done.stderr}) == []


@pytest.mark.parametrize("command", ["doctor", f"--debug trace show {RUN}"])
@pytest.mark.parametrize(
    "url", ["redis://fleet:{wrong}@127.0.0.1:{port}/0", "redis://fleet:{right}@127.0.0.1:1/0", "redis://{raw}@h@h/0"]
)
def test_a_store_that_refuses_is_told_of_without_its_password(work: Work, command: str, url: str):
    right = quote(STORE, safe="")
    url = url.format(wrong=f"{right}-not", right=right, raw=STORE, port=work.server.port)

    done = work.command(*command.split(), COTERIE_STORE=url)

    assert done.returncode != 0
    assert leaks({"out": done.stdout, "err": done.stderr}) == []
