"""The settings of HTTP agents: what is refused, and what an agent as a value can do."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import Any

import pytest

from coterie import Orchestrator, Retry, Task, Team
from coterie.agents import AgentRejected, AgentThrottled, HttpAgent
from coterie.errors import Misuse, PolicyError
from tests.fleet.agents.conftest import context_of
from tests.support.stub_provider import StubProvider

SECRET = "open-sesame-42"
AT_ONCE = Retry(base_s=0, cap_s=0)


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "ftp://host/",
        "file:///etc/passwd",
        "unix:///run/x",
        "host/path",
        "http://",
        "http://host:0/",
        "http://host:99999/",
        "http://[/",
        "http://host/#part",
        "http://host/a b",
        "http://host/\n",
    ],
)
def test_an_address_that_is_no_plain_http_is_refused(url: Any):
    with pytest.raises(PolicyError, match="the agent's url"):
        HttpAgent(url)


def test_an_address_with_credentials_is_refused_without_repeating_them():
    with pytest.raises(PolicyError, match="'https://host/p' holds credentials") as caught:
        HttpAgent(f"https://user:{SECRET}@host/p")

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"body": "xml"}, "body is 'xml'"),
        ({"timeout_s": 0}, "timeout_s is 0"),
        ({"timeout_s": float("inf")}, "timeout_s is inf"),
        ({"connect_timeout_s": "1"}, "connect_timeout_s is '1'"),
        ({"answer_limit_bytes": 0}, "answer_limit_bytes is 0"),
        ({"max_redirects": -1}, "max_redirects is -1"),
        ({"headers": {"X Y": "a"}}, "'X Y' is no header's name"),
        ({"headers": {"Content-Length": "1"}}, "'Content-Length' is written by coterie itself"),
        ({"headers_env": {"idempotency-key": "X"}}, "'idempotency-key' is written by coterie itself"),
        ({"headers": {"X": f"{SECRET}\r\nY: 1"}}, "'X' has a value that is no line"),
        ({"headers_env": {"X": ""}}, "'X' needs the name of an environment variable"),
        ({"headers_env": {"authorization": "A"}, "bearer_env": "B"}, "both bearer_env and headers_env"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], message: str):
    with pytest.raises(PolicyError, match=message) as caught:
        HttpAgent("http://host/", **fields)

    assert SECRET not in str(caught.value)


def test_a_handler_is_a_value():
    agent = HttpAgent("http://host/", headers={"X": "1"}, timeout_s=3)

    assert agent == HttpAgent("http://host/", headers={"X": "1"}, timeout_s=3)
    assert agent != replace(agent, timeout_s=4)
    assert pickle.loads(pickle.dumps(agent)) == agent
    with pytest.raises(AttributeError):
        agent.url = "http://other/"  # type: ignore[misc]


@pytest.mark.parametrize("error", [AgentThrottled("m", status=429, retry_after_s=2.0), AgentRejected("m", status=404)])
def test_failures_survive_pickling(error: Exception):
    again = pickle.loads(pickle.dumps(error))

    assert (type(again), str(again), vars(again)) == (type(error), "m", vars(error))


async def test_without_httpx_the_extra_is_named(ctx, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "httpx", None)

    with pytest.raises(Misuse, match=r"pip install 'coterie\[http\]'"):
        await HttpAgent("http://127.0.0.1:1/")({}, ctx)


async def test_a_team_adds_an_http_agent_that_no_model_may_plan_with(provider: StubProvider):
    team = Team("t")
    added = team.http("x", provider.url, capacity=2, timeout_s=9, retry=AT_ONCE)
    team.http("y", HttpAgent(provider.url, body="input"), plannable=True)

    assert (added.id, added.capacity, added.timeout_s, added.retry) == ("x", 2, 9, AT_ONCE)
    assert team.plannable_types == ("y",)
    result = await Orchestrator(team).execute_task(Task("t", "y", input={"a": 1}))
    assert result.output == {"echo": {"a": 1}}


async def test_no_input_becomes_part_of_the_address(provider: StubProvider):
    task_input = {"url": "http://elsewhere.example/", "path": "/-/heal", "${x}": "{x}"}
    ctx = context_of(task_input)

    await HttpAgent(f"{provider.url}/fixed/{{path}}")(task_input, ctx)

    assert provider.requests[0].path == "/fixed/{path}" or provider.requests[0].path == "/fixed/%7Bpath%7D"
    assert json.loads(provider.requests[0].body)["input"] == task_input
