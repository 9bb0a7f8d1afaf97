"""`coterie trace serve`: what a browser, a program, and whoever should not be there, is answered."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from coterie import Intent, Orchestrator, Plan, Task, Team
from coterie._rules.journal import RUN
from coterie._rules.journal_text import Claim, Record
from coterie._rules.written import Changed
from coterie.cli.runs.place import JournalPlace
from coterie.cli.trace import site as site_module
from coterie.cli.trace.site import Site
from coterie.journal import Journal
from coterie.journal.header import Header
from coterie.journal.place import place_of
from coterie.journal.view import RunView, view_run
from coterie.remote.http import Request
from coterie.stores.opening import open_journal_store
from tests.support.chromium import chromium

Start = Callable[..., "subprocess.Popen[str]"]
EVIL = "<script>alert(1)</script>&\"'"
BEGUN_S = 1_795_841_820.0
FAR_US = str(9_000_000_000_000_000)


class Said(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


class Served(NamedTuple):
    port: int
    process: subprocess.Popen[str]
    told: str

    def get(self, path: str, *, method: str = "GET", host: str | None = None) -> Said:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, headers={"Host": host or f"127.0.0.1:{self.port}"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return Said(answer.status, {name.lower(): value for name, value in answer.getheaders()}, text)


@pytest.fixture
def store(folder: Path) -> str:
    return f"sqlite://{folder / 'state.db'}"


@pytest.fixture
def serve(start: Start) -> Iterator[Callable[..., Served]]:
    processes: list[subprocess.Popen[str]] = []

    def served(*argv: str) -> Served:
        process = start("trace", "serve", "--port", "0", *argv)
        processes.append(process)
        assert process.stderr is not None
        told = ""
        while (found := re.search(r" are at http://\S+:(\d+)/", told)) is None:
            line = process.stderr.readline()
            assert line, told
            told += line
        return Served(int(found[1]), process, told)

    yield served
    for process in processes:
        process.kill()
        process.communicate()


async def ran(store: str) -> None:
    """A run that failed, one that costs, one that was left: of plans whose names are markup."""
    team = Team("crew")

    @team.agent("work")
    async def work(task_input: object) -> None:
        raise OSError(EVIL)

    async with journal_in(store) as journal:
        plan = Plan("crew", [Task("a", "work")])
        await Orchestrator(team, journal=journal).execute_workflow(plan, workflow_id="failed-1")
        await journal.begin("costly", Header(EVIL, "h" * 64, begun_at=BEGUN_S), Intent())
        ended = {"state": "succeeded", "attempts": 1, "output": {"value": None}}
        record = Record(0, "0" * 32, ended, "local", BEGUN_S + 5, {"cost_micros": 420_000})
        await write(journal, "costly", {place_of("a").record: record.text()})
        await journal.conclude("costly", "succeeded", by="local")
        await journal.begin("left", Header("long", "h" * 64, begun_at=BEGUN_S), Intent())


@asynccontextmanager
async def journal_in(store: str) -> AsyncIterator[Journal]:
    journal = Journal(open_journal_store(store, "default", durability="relaxed"))
    try:
        yield journal
    finally:
        await journal.aclose()


async def write(journal: Journal, run: str, texts: dict[str, str]) -> None:
    def decide(_: Mapping[str, str | None], now_us: int) -> Changed[None]:
        return Changed(texts, None)

    await journal.store.change(run, tuple(texts), decide)


async def test_runs_are_listed_and_each_is_a_page_and_a_document(store: str, serve: Callable[..., Served]):
    await ran(store)
    served = serve("--store", store)

    listed, page, document = served.get("/"), served.get("/runs/failed-1"), served.get("/runs/failed-1.json")

    assert [said.status for said in (listed, page, document)] == [200, 200, 200]
    assert re.findall(r'href="/runs/([^"]+)"', listed.text) == ["left", "costly", "failed-1"]
    assert "<td>0.42</td>" in listed.text
    assert "<span class=failed>failed</span>" in listed.text
    assert '<time datetime="2026-11-28' in listed.text
    assert "<title>Timeline of failed-1</title>" in page.text
    assert json.loads(document.text)["run"]["id"] == "failed-1"
    assert document.headers["content-type"] == "application/json"


async def test_what_a_run_is_called_or_says_is_never_markup(store: str, serve: Callable[..., Served]):
    await ran(store)
    served = serve("--store", store)

    for path in ("/", "/runs/failed-1", "/runs/costly"):
        assert EVIL[:17] not in served.get(path).text, path
    assert EVIL in json.loads(served.get("/runs/failed-1.json").text)["first_failure"]["message"]
    assert "&lt;script&gt;" in served.get("/").text


async def test_every_answer_says_that_nothing_else_may_run_sniff_or_frame_it(store: str, serve: Callable[..., Served]):
    await ran(store)
    served = serve("--store", store)

    for path in ("/", "/runs/failed-1", "/runs/failed-1.json", "/runs/nobody", "/elsewhere"):
        headers = served.get(path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["cache-control"] == "no-store", path
        assert headers["content-security-policy"].startswith("default-src 'none'; "), path
        assert headers["content-security-policy"].endswith("frame-ancestors 'none'"), path
        assert "unsafe" not in headers["content-security-policy"], path
    page = served.get("/runs/failed-1")
    assert page.headers["content-security-policy"].removesuffix("; frame-ancestors 'none'") in page.text


async def test_an_unknown_run_or_page_is_not_found_and_says_where_to_look(store: str, serve: Callable[..., Served]):
    await ran(store)
    served = serve("--store", store)

    page, document, elsewhere = (served.get(path) for path in ("/runs/nobody", "/runs/nobody.json", "/other"))

    assert [said.status for said in (page, document, elsewhere)] == [404, 404, 404]
    assert page.headers["content-type"].startswith("text/plain")
    for text in (page.text, json.loads(document.text)["error"]):
        assert text.startswith("UnknownRun: there is no run 'nobody' in the journal ")
        assert "all runs are listed at /" in text
    assert served.get("/runs/..%2f..%2fetc").status == served.get("/?after=nonsense").status == 400


async def test_it_can_only_be_read_and_by_this_machines_names(store: str, serve: Callable[..., Served]):
    await ran(store)
    served = serve("--store", store)

    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        refused = served.get("/runs/failed-1", method=method)
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
    head = served.get("/runs/failed-1", method="HEAD")
    assert (head.status, head.text) == (200, "")
    assert int(head.headers["content-length"]) > 10_000
    assert served.get("/", host=f"localhost:{served.port}").status == 200
    rebound = served.get("/", host="evil.example")
    assert (rebound.status, "failed-1" in rebound.text) == (421, False)


async def test_a_run_that_goes_on_says_so_and_the_list_is_loaded_again(store: str, serve: Callable[..., Served]):
    await ran(store)
    served = serve("--store", store)
    # One may begin.
    assert served.get("/").headers["refresh"] == "60"
    assert "loaded again" not in served.get("/").text
    assert "load it again" in served.get("/runs/left").text
    assert "load it again" not in served.get("/runs/failed-1").text

    async with journal_in(store) as journal:
        await write(journal, "left", {RUN.claim: Claim(1, 0, "somebody").text(), RUN.pulse: FAR_US})
    listed = served.get("/")

    assert listed.headers["refresh"] == "10"
    assert "<span class=running>running</span>" in listed.text
    assert "loaded again every 10 s" in listed.text
    assert "so far" in listed.text


async def test_the_list_is_loaded_again_while_a_scheduler_s_run_is_between_two_tasks(
    store: str, serve: Callable[..., Served]
):
    async with journal_in(store) as journal:
        await journal.begin("scheduled", Header(begun_at=BEGUN_S), Intent())
    served = serve("--store", store)

    assert "<span class=open>open</span>" in served.get("/").text
    assert served.get("/").headers["refresh"] == "10"


async def test_a_run_that_is_called_like_a_document_has_its_page(store: str, serve: Callable[..., Served]):
    async with journal_in(store) as journal:
        for run in ("r", "r.json", "s.json"):
            await journal.begin(run, Header("p", "h" * 64, begun_at=BEGUN_S), Intent())
    served = serve("--store", store)

    assert re.findall(r'href="(/runs/[^"]+)"', served.get("/").text) == ["/runs/s%2Ejson", "/runs/r%2Ejson", "/runs/r"]
    assert "Timeline of r.json" in served.get("/runs/r%2Ejson").text
    assert json.loads(served.get("/runs/r.json").text)["run"]["id"] == "r"
    assert "Timeline of s.json" in served.get("/runs/s.json").text


async def test_more_runs_than_fit_are_behind_a_link(store: str, serve: Callable[..., Served]):
    async with journal_in(store) as journal:
        for number in range(60):
            await journal.begin(f"r{number}", Header("p", "h" * 64, begun_at=BEGUN_S), Intent())
    served = serve("--store", store)

    first = served.get("/").text
    (older,) = re.findall(r'href="(/\?after=[^"]+)"', first)
    second = served.get(older).text

    assert (first.count("<tr><td>"), second.count("<tr><td>")) == (50, 10)
    assert ">r0</a>" in second
    assert "after=" not in second


def test_where_nothing_is_kept_there_are_no_runs_and_nothing_is_made(folder: Path, serve: Callable[..., Served]):
    served = serve("--store", f"sqlite://{folder}/none.db")

    assert "There are none here" in served.get("/").text
    assert not list(folder.glob("none*"))


def test_a_store_that_is_away_is_said_as_503_with_what_to_do(folder: Path, serve: Callable[..., Served]):
    served = serve("--store", "redis://me:hunter2@127.0.0.1:1/0")

    answers = [served.get(path) for path in ("/", "/runs/r", "/runs/r.json")]

    for said in answers:
        assert said.status == 503
        assert "Unavailable: " in said.text
        assert "hunter2" not in said.text
        assert "Traceback" not in said.text
    assert "hunter2" not in served.told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_also_while_somebody_asks_slowly(store: str, serve: Callable[..., Served], number: int):
    served = serve("--store", store)
    slow = socket.create_connection(("127.0.0.1", served.port))
    slow.sendall(b"GET / HTTP/1.1\r\n")
    served.get("/")

    served.process.send_signal(number)
    _, stderr = served.process.communicate(timeout=60)
    slow.close()

    assert served.process.returncode == 0
    assert stderr == ""


def test_elsewhere_than_here_it_says_that_nobody_is_asked_who_he_is(store: str, serve: Callable[..., Served]):
    here, everywhere = serve("--store", store), serve("--store", store, "--host", "0.0.0.0")

    assert "warning" not in here.told
    assert everywhere.told.startswith("warning: nobody is asked who he is: whoever reaches 0.0.0.0 ")
    assert everywhere.get("/", host="runs.example").status == 200


def test_what_cannot_be_served_is_misuse_at_once(store: str, coterie: Callable[..., Any], serve: Callable[..., Served]):
    taken = serve("--store", store)

    port = coterie("trace", "serve", "--store", store, "--port", str(taken.port))
    memory = coterie("trace", "serve", "--store", "memory://")

    assert (port.returncode, memory.returncode) == (2, 2)
    assert port.stderr.startswith(f"error: cannot serve pages on 127.0.0.1:{taken.port}: ")
    assert "name the fleet's store" in memory.stderr


async def test_what_a_run_has_used_is_read_once(store: str, monkeypatch: pytest.MonkeyPatch):
    await ran(store)
    asked: list[str] = []

    async def noted(journal: Journal, run: str) -> RunView:
        asked.append(run)
        return await view_run(journal, run)

    monkeypatch.setattr(site_module, "view_run", noted)
    site = Site(JournalPlace(store), None, hosts=None)
    first = await site.answer(Request("GET", "/"))
    again = await site.answer(Request("GET", "/"))

    assert sorted(asked) == ["costly", "failed-1"]
    assert b"<td>0.42</td>" in first.body
    assert b"<td>0.42</td>" in again.body


async def test_a_mistake_of_ours_is_an_error_and_the_next_is_answered(store: str, monkeypatch: pytest.MonkeyPatch):
    site = Site(JournalPlace(store), None, hosts=None)

    def broken(*_: object, **__: object) -> str:
        raise RuntimeError("a mistake")

    with monkeypatch.context() as patched:
        patched.setattr(site_module, "list_page", broken)
        failed = await site.answer(Request("GET", "/"))

    assert (failed.status, b"mistake" in failed.body) == (500, False)
    assert (await site.answer(Request("GET", "/"))).status == 200


class Address(NamedTuple):
    """Of a page that lies in no file."""

    url: str

    def as_uri(self) -> str:
        return self.url


@pytest.mark.system
async def test_in_a_browser_the_list_leads_to_a_page_whose_script_runs_and_back(
    store: str, serve: Callable[..., Served]
):
    await ran(store)
    at = f"http://127.0.0.1:{serve('--store', store).port}"
    with chromium() as tab:
        tab.open(Address(f"{at}/"))
        links = tab.run("[...document.querySelectorAll('td a')].map((a) => a.textContent)")
        tab.open(Address(f"{at}/runs/failed-1"))
        rows = tab.run("document.getElementById('rows').getAttribute('aria-rowcount')")
        back = tab.run("document.querySelector('.served a').href")
        complaints, requests = list(tab.complaints), set(tab.requests)

    assert links == ["left", "costly", "failed-1"]
    assert int(rows) >= 2
    assert back == f"{at}/"
    # A browser asks for an icon by itself.
    assert requests <= {f"{at}/", f"{at}/runs/failed-1", f"{at}/favicon.ico"}
    assert [said for said in complaints if "favicon" not in said and "404" not in said] == []
