"""How the demo asks Airflow: what the server undid or did not answer is asked again, and nothing is done twice."""

from __future__ import annotations

import json
import threading
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from deploy.demo import airflow_api
from deploy.demo.airflow_api import AirflowApi

SILENCE = 0
# Long enough for a busy machine to answer, short enough to wait for.
ANSWER_S = 3.0
RUNS = "/api/v2/dags/review/dagRuns"


@dataclass(slots=True)
class Script:
    """What a server answers, in this order; `SILENCE` for a request that it never answers. `asked` fills up."""

    statuses: list[int]
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


def handler_of(script: Script) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            script.asked.append((self.command, self.path, json.loads(self.rfile.read(length) or "null")))
            status = script.statuses.pop(0)
            if status == SILENCE:
                script.over.wait()
                return
            content = b'{"value": 1}'
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PATCH = do_GET  # noqa: N815  # the base class's names

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[AirflowApi, Script]]]:
    """Start a server that answers as told."""
    started: list[tuple[ThreadingHTTPServer, Script]] = []

    def serving(*statuses: int) -> tuple[AirflowApi, Script]:
        script = Script(list(statuses))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(script))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append((server, script))
        return AirflowApi(f"http://127.0.0.1:{server.server_port}", answer_s=ANSWER_S, pause_s=0.0), script

    yield serving
    for server, script in started:
        script.over.set()
        server.shutdown()
        server.server_close()


def test_the_client_waits_clearly_longer_than_the_database_for_its_lock():
    assert airflow_api.ANSWER_S >= 2 * 60


@pytest.mark.parametrize("undone", [500, 503, SILENCE])
def test_a_question_that_is_not_answered_is_asked_again(serve, undone: int):
    api, script = serve(undone, 200)

    assert api.call("GET", "/api/v2/version") == {"value": 1}
    assert script.statuses == []


def test_a_change_without_an_answer_is_not_made_again(serve):
    api, script = serve(SILENCE, 200)

    with pytest.raises(TimeoutError):
        api.call("PATCH", "/api/v2/x", {})

    assert len(script.asked) == 1


def test_a_server_that_never_answers_is_given_up(serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(airflow_api, "ATTEMPTS", 2)
    api, script = serve(SILENCE, SILENCE)

    with pytest.raises(TimeoutError):
        api.call("GET", "/api/v2/version")

    assert len(script.asked) == 2


@pytest.mark.parametrize("undone", [500, SILENCE])
@pytest.mark.parametrize("then", [200, 409])
def test_a_run_is_started_once_also_if_its_start_was_not_answered(serve, undone: int, then: int):
    api, script = serve(undone, then, 200)

    run_id = api.start_run("review", {"source": "x"})

    assert (
        script.asked[:2]
        == [
            ("POST", RUNS, {"logical_date": None, "conf": {"source": "x"}, "dag_run_id": run_id}),
        ]
        * 2
    )


def test_a_run_that_was_answered_and_not_committed_is_started_again(serve):
    api, script = serve(200, 404, 200, 200)

    run_id = api.start_run("review", {})

    assert [(method, path) for method, path, _ in script.asked] == [("POST", RUNS), ("GET", f"{RUNS}/{run_id}")] * 2
    assert script.asked[0] == script.asked[2]


def test_runs_without_a_given_id_have_different_ones(serve):
    api, _ = serve(*[200] * 4)

    assert api.start_run("review", {}) != api.start_run("review", {})


def test_a_run_that_was_there_before_is_refused_with_the_servers_words(serve):
    api, _ = serve(409)

    with pytest.raises(urllib.error.HTTPError, match=r'409.*"value": 1'):
        api.start_run("review", {}, "mine")
