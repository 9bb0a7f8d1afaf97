"""HTTP and chat agents in a team's YAML file; refusals name the file, the agent and the field, and no secret."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from coterie import Orchestrator, Retry, Task, Team
from coterie.agents import ChatAgent, HttpAgent
from coterie.decompose.prompt import describe_agents
from coterie.errors import Misuse, PolicyError
from coterie.usage import Price
from tests.support.stub_provider import Behaviour, StubProvider

YAML = """
name: remote
agents:
  - agent_type: linter
    http: https://agents.example/lint
  - agent_type: tester
    capacity: 3
    timeout_s: 60
    retry: {max_attempts: 2}
    plannable: true
    http:
      url: https://agents.example/test
      body: input
      headers: {X-Team: a}
      headers_env: {X-Key: TESTER_KEY}
      bearer_env: TESTER_TOKEN
      timeout_s: 30
      answer_limit_bytes: 1000
  - agent_type: analyst
    description: Finds what is wrong.
    chat:
      base_url: https://models.example/v1
      model: small
      prompt: "Review ${path}."
      response_format: json
      max_tokens: 500
      temperature: 0.2
      settings: {seed: 1}
      api_key_env: MODEL_KEY
      price: {input_micros: 3000000, output_micros: "0.5"}
"""


def load(folder: Path, text: str) -> Team:
    path = folder / "team.yaml"
    path.write_text(text)
    return Team.load(str(path))


def test_http_and_chat_agents_are_read_from_yaml(tmp_path: Path):
    linter, tester, analyst = load(tmp_path, YAML).agents.values()

    assert linter.handler == HttpAgent("https://agents.example/lint")
    assert tester.handler == HttpAgent(
        "https://agents.example/test",
        body="input",
        headers={"X-Team": "a"},
        headers_env={"X-Key": "TESTER_KEY"},
        bearer_env="TESTER_TOKEN",
        timeout_s=30,
        answer_limit_bytes=1000,
    )
    assert (tester.capacity, tester.timeout_s, tester.retry) == (3, 60, Retry(max_attempts=2))
    assert analyst.handler == ChatAgent(
        "https://models.example/v1",
        "small",
        prompt="Review ${path}.",
        response_format="json",
        max_tokens=500,
        temperature=0.2,
        settings={"seed": 1},
        api_key_env="MODEL_KEY",
        price=Price(3_000_000, Decimal("0.5")),
    )


def test_a_model_that_plans_is_told_what_an_agent_does(tmp_path: Path):
    team = load(tmp_path, YAML)
    team.chat("reader", ChatAgent("http://h/", "m"), description="Reads.")
    team.http("writer", "http://h/", description="Writes.")

    assert describe_agents(team, ["analyst", "reader", "writer"]) == {
        "analyst": "Finds what is wrong.",
        "reader": "Reads.",
        "writer": "Writes.",
    }


def test_a_model_may_plan_with_chat_agents_but_with_http_agents_only_if_the_file_says_so(tmp_path: Path):
    assert [agent.plannable for agent in load(tmp_path, YAML).agents.values()] == [False, True, True]


async def test_a_team_from_yaml_works(tmp_path: Path, provider: StubProvider):
    provider.script(Behaviour(chat='{"ok": true}'), path="/v1/chat/completions")
    team = load(
        tmp_path,
        YAML.replace("https://agents.example", provider.url)
        .replace("https://models.example", provider.url)
        .replace("      api_key_env: MODEL_KEY\n", ""),
    )

    orchestrator = Orchestrator(team)
    linted = await orchestrator.execute_task(Task("t", "linter", input={"path": "src"}))
    analysed = await orchestrator.execute_task(Task("t", "analyst", input={"path": "src"}))

    assert linted.output["echo"]["input"] == {"path": "src"}
    assert analysed.output == {"ok": True}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("http: {}", "http lacks 'url'; fields: answer_limit_bytes, bearer_env, body"),
        ("http: [1]", "http is no mapping; give url"),
        ("http: 5", "http is no mapping; give url"),
        ("http: {url: 'http://h/', token: sk-secret}", "http has the unknown field 'token'"),
        ("http: {url: 'http://h/', _endpoint: 1}", "http has the unknown field '_endpoint'"),
        ("http: {url: 'http://h/', headers: sk-secret}", "headers is no mapping"),
        ("chat: {model: m}", "chat lacks 'base_url'"),
        ("chat: http://h/", "chat is no mapping; give base_url, model"),
        ("chat: {base_url: 'http://h/', model: m, price: {input_micros: 1}}", "price lacks 'output_micros'"),
        (
            "chat: {base_url: 'http://h/', model: m, price: {input_micros: 1, output_micros: x}}",
            "the price 'x' is no number",
        ),
        ("{http: 'http://h/', command: [ls]}", "give either a handler or a command, or http or chat"),
        ("{http: 'http://h/', chat: {}}", "give either a handler or a command, or http or chat"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_place(tmp_path: Path, entry: str, message: str):
    fields = entry.strip("{}") if entry.startswith("{") else entry

    with pytest.raises(Misuse, match=message) as caught:
        load(tmp_path, f"agents: [{{agent_type: x, {fields}}}]")

    assert "team.yaml': the agent 'x'" in str(caught.value)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    [
        "http: {url: 'ftp://h/'}",
        "http: {url: 'http://h/', timeout_s: soon}",
        "http: {url: 'http://h/', headers: {X: 5}}",
        "chat: {base_url: 'http://h/', model: m, price: {input_micros: 0.5, output_micros: 1}}",
    ],
)
def test_a_setting_that_cannot_work_is_refused(tmp_path: Path, entry: str):
    with pytest.raises(PolicyError):
        load(tmp_path, f"agents: [{{agent_type: x, {entry}}}]")


def test_an_entry_without_a_type_is_refused_without_its_values(tmp_path: Path):
    with pytest.raises(Misuse, match=r"the agent \['http'\] needs an agent_type") as caught:
        load(tmp_path, "agents: [{http: {url: 'http://h/', headers: {X-Key: sk-secret}}}]")

    assert "sk-secret" not in str(caught.value)
