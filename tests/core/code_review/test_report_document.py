"""The report document: the same bytes from the same parts, and nothing lost to somebody else's failure."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.errors import Misuse
from coterie.teams.code_review.report import build_report, canonical_bytes, digest
from tests.support.report_inputs import finding, foreach, inputs, item, output, record, report, snapshot

# Any text that JSON can carry between processes, lone surrogates of odd file names included.
TEXT = st.text(min_size=1, max_size=12)
PATH = TEXT.filter(lambda text: not text.startswith("/") and ".." not in text.split("/"))
POSITION = st.none() | st.integers(1, 50)
FINDINGS = st.lists(
    st.builds(
        finding,
        agent=TEXT,
        tool=TEXT,
        rule=TEXT,
        severity=st.sampled_from(["error", "warning", "note"]),
        path=st.none() | PATH,
        line=POSITION,
        column=POSITION,
        message=TEXT,
        help_uri=st.none() | TEXT,
    ),
    max_size=8,
)
NUMBERS = st.dictionaries(TEXT, st.floats(-1e6, 1e6) | st.integers(-1000, 1000), max_size=4)


@given(findings=FINDINGS, metrics=st.lists(NUMBERS, max_size=6), shuffle=st.randoms(use_true_random=False))
def test_the_order_of_tasks_items_and_findings_changes_no_byte(
    findings: list[dict[str, Any]], metrics: list[dict[str, float]], shuffle: random.Random
):
    items = [item(f"{n}.py", output(*findings, metrics=own)) for n, own in enumerate(metrics)]
    tasks = [snapshot("b.py", "a.py"), record("lint", output(*findings)), foreach("measure", *items)]
    shuffled_items, shuffled_findings = items[:], findings[:]
    shuffle.shuffle(shuffled_items)
    shuffle.shuffle(shuffled_findings)
    shuffled = [
        foreach("measure", *shuffled_items),
        record("lint", output(*shuffled_findings)),
        snapshot("a.py", "b.py"),
    ]
    shuffle.shuffle(shuffled)

    assert canonical_bytes(report(*tasks)) == canonical_bytes(report(*shuffled))


@given(findings=FINDINGS, metrics=NUMBERS)
def test_the_bytes_read_back_to_the_same_document(findings: list[dict[str, Any]], metrics: dict[str, float]):
    built = report(record("lint", output(*findings, metrics=metrics)))

    assert json.loads(canonical_bytes(built)) == built


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["findings", "metrics", "tool", "problems", "path", "reason", "name"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(nonsense=JSON)
def test_nonsense_from_one_agent_loses_nothing_of_the_others(nonsense: Any):
    built = report(snapshot("a.py"), record("lint", output(finding())), record("docs", nonsense))

    assert [each["rule"] for each in built["findings"] if each["agent"] == "linter"] == ["F401"]
    assert canonical_bytes(built)


@given(nonsense=JSON)
def test_a_nonsensical_snapshot_is_missing_and_no_more(nonsense: Any):
    built = report(record("snapshot", nonsense), record("lint", output(finding())))

    assert len(built["findings"]) == 1
    assert built["source"] is not None or [each["task"] for each in built["missing"]] == ["snapshot"]


def test_the_digest_is_the_sha256_of_the_canonical_bytes_and_not_in_them():
    built = report(record("lint", output(finding())))

    assert digest(built) == hashlib.sha256(canonical_bytes(built)).hexdigest()
    assert digest(built).encode() not in canonical_bytes(built)


def test_findings_are_sorted_by_severity_path_line_column_agent_rule_and_message():
    wanted = [
        finding(severity="error", path="z.py"),
        finding(severity="warning", path=None, line=None, column=None),
        finding(path="a.py", line=2),
        finding(path="a.py", line=10),
        finding(path="a.py", line=10, column=5, agent="analyzer"),
        finding(path="a.py", line=10, column=5, rule="A1", message="x"),
        finding(path="a.py", line=10, column=5, rule="A1", message="y"),
        finding(severity="note", path="a.py", line=1),
    ]

    assert report(record("lint", output(*reversed(wanted))))["findings"] == wanted


def test_only_equal_findings_are_merged():
    twice, other_tool = finding(), finding(tool="flake8")

    built = report(record("lint", output(twice, twice, other_tool)), record("more", output(twice)))

    assert [each["tool"] for each in built["findings"]] == ["flake8", "ruff"]


def test_floats_are_rounded_to_four_places():
    built = report(record("lint", output(metrics={"mean": 1 / 3, "whole": 2.0, "zero": -0.0})))

    assert built["metrics"]["linter"]["lint"] == {"mean": 0.3333, "whole": 2, "zero": 0}
    assert b'"whole":2,' in canonical_bytes(built)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, [{"deep": float("-inf")}]])
def test_a_number_that_json_cannot_say_costs_the_metrics_only(value: Any):
    built = report(record("lint", output(finding(), metrics={"bad": value})))

    assert len(built["findings"]) == 1
    assert built["metrics"] == {}
    assert built["missing"][0]["state"] == "malformed"
    assert "metrics/bad" in built["missing"][0]["reason"]


def test_bytes_of_a_document_with_nan_are_refused():
    with pytest.raises(Misuse, match="no canonical form"):
        canonical_bytes({"x": float("nan")})


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"severity": "fatal"}, "findings/1/severity"),
        ({"path": "/etc/passwd"}, "findings/1/path"),
        ({"path": "a/../../b"}, "findings/1/path"),
        ({"line": 0}, "findings/1/line"),
        ({"line": True}, "findings/1/line"),
        ({"line": 9, "end_line": 8}, "findings/1/end_line"),
        ({"message": None}, "findings/1/message"),
    ],
)
def test_a_malformed_finding_is_named_and_the_others_stay(change: dict[str, Any], place: str):
    built = report(record("lint", output(finding(), finding(**change), finding(line=7))))

    assert [each["line"] for each in built["findings"]] == [3, 7]
    assert built["status"] == "partial"
    assert place in built["missing"][0]["reason"]


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "https://a b", 'https://x"y', 7])
def test_a_help_address_that_is_not_plain_http_is_dropped(address: Any):
    assert report(record("lint", output(finding(help_uri=address))))["findings"][0]["help_uri"] is None


@pytest.mark.parametrize("state", ["failed", "upstream_failed", "cancelled", "unreadable"])
def test_a_task_that_did_not_succeed_is_missing_with_its_reason(state: str):
    built = report(record("lint", output(finding())), record("security", state=state, reason="ToolFailed: no bandit"))

    assert built["status"] == "partial"
    assert built["missing"] == [
        {"task": "security", "agent": "security", "state": state, "reason": "ToolFailed: no bandit"}
    ]
    assert len(built["findings"]) == 1


def test_what_the_plan_skipped_is_listed_but_leaves_the_review_complete():
    built = report(record("tests", state="skipped"))

    assert built["status"] == "complete"
    assert [each["state"] for each in built["missing"]] == ["skipped"]


def test_failed_items_are_named_and_the_others_count():
    built = report(
        foreach(
            "security",
            item("a.py", output(finding(agent="security", tool="bandit"), tool="bandit")),
            item("b.py", state="failed", reason="TaskTimedOut: too slow"),
            item("c.py", ["no object"]),
        )
    )

    assert [(each["item"], each["state"]) for each in built["missing"]] == [("b.py", "failed"), ("c.py", "malformed")]
    assert len(built["findings"]) == 1
    assert built["tasks"][0] | {"items": 3, "items_failed": 1} == built["tasks"][0]


def test_a_report_of_nothing_but_failures_still_is_one():
    tasks = ["snapshot", "lint", "security", "measure", "structure", "tests", "docs"]

    built = report(*(record(task, state="failed", reason="it broke") for task in tasks))

    assert built["source"] is None
    assert built["findings"] == []
    assert [each["task"] for each in built["missing"]] == sorted(tasks)


def test_files_that_an_agent_could_not_judge_are_listed_and_nothing_is_partial():
    problem = {"path": "old.py", "reason": "does not parse"}

    built = report(
        snapshot("old.py", skipped=[{"path": "big.bin", "reason": "9 MB"}]), record("lint", output(problems=[problem]))
    )

    assert built["status"] == "complete"
    assert built["problems"] == [
        {"task": "lint", "path": "old.py", "reason": "does not parse"},
        {"task": "snapshot", "path": "big.bin", "reason": "9 MB"},
    ]


def test_reasons_keep_no_absolute_path_address_or_store():
    reason = "Crash: in /tmp/run-81/work/a.py at 0x7f3a99c01e50, see file:///var/x/y and https://docs.example/a/b\nend"

    built = report(record("lint", state="failed", reason=reason))

    assert built["missing"][0]["reason"] == "Crash: in …/a.py at 0x…, see file:… and https://docs.example/a/b end"


def test_of_a_local_source_only_the_last_part_of_the_path_is_told():
    source = report(snapshot("a.py", name="/srv/work/shop/"))["source"]

    assert source is not None
    assert source["name"] == "shop"


def test_counts_cover_severity_agent_rule_and_file():
    built = report(
        record("lint", output(finding(), finding(line=9), finding(rule="E9", severity="error", path="b.py"))),
        record("docs", output(tool="coterie")),
    )

    summary = built["summary"]
    assert summary["severity"] == {"error": 1, "warning": 2, "note": 0}
    assert summary["agents"] == {
        "documenter": {"error": 0, "warning": 0, "note": 0},
        "linter": {"error": 1, "warning": 2, "note": 0},
    }
    assert [(rule["rule"], rule["findings"]) for rule in summary["rules"]] == [("F401", 2), ("E9", 1)]
    assert summary["files"]["b.py"]["error"] == 1


def test_hotspots_weigh_ten_three_and_one():
    found = [finding(path="a.py", line=n) for n in range(1, 4)] + [finding(path="b.py", severity="error")]
    found += [finding(path="c.py", severity="note", line=n) for n in range(1, 9)]

    spots = report(record("lint", output(*found)))["hotspots"]

    assert [(spot["path"], spot["score"]) for spot in spots] == [("b.py", 10), ("a.py", 9), ("c.py", 8)]


def test_metrics_of_items_are_kept_by_item_and_folded():
    items = [item("a.py", output(metrics={"lines": 10})), item("b.py", output(metrics={"lines": 30, "note": "x"}))]

    metrics = report(foreach("measure", *items))["metrics"]["analyzer"]["measure"]

    assert metrics == {
        "items": {"a.py": {"lines": 10}, "b.py": {"lines": 30, "note": "x"}},
        "over_items": {"lines": {"count": 2, "total": 40, "mean": 20, "min": 10, "max": 30}},
    }


def test_tools_that_disagree_between_workers_are_all_named():
    items = [item("a.py", output(version="2")), item("b.py", output(version="1"))]

    assert report(foreach("security", *items))["tools"] == {"ruff": "1, 2"}


def test_the_interpreter_is_part_of_the_document():
    assert build_report(inputs(python="3.12"))["python"] == "3.12"


def test_a_file_name_that_is_no_unicode_does_not_stop_the_report():
    built = report(record("lint", output(finding(path="caf\udce9.py"))))

    assert built["findings"][0]["path"] == "caf\ufffd.py"
    assert canonical_bytes(built)
