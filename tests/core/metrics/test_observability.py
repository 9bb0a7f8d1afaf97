"""What alerts and dashboards ask for is there: in what a real worker, and a real process that runs plans, show."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import pytest
import yaml
from prometheus_client.samples import Sample

from coterie.telemetry.instruments import INSTRUMENTS, prometheus_names
from tests.core.architecture.sources import REPOSITORY
from tests.core.metrics.desk import OBSERVABILITY, SECRET, Fleet, samples_at
from tests.core.metrics.promql import alerts, asked_for, dashboards, panels, recorded, rules

RUNBOOKS = REPOSITORY / "docs" / "how-to" / "runbooks"
# Prometheus' own.
GIVEN = {"up"}
# Only a process that runs plans has them, however long a worker works.
OF_RUNS = {f"coterie_run_duration_seconds{end}" for end in ("_bucket", "_sum", "_count")}


def needed(expressions: list[tuple[str, str]]) -> dict[str, str]:
    """Each series that is asked for, what is recorded resolved; and by whom."""
    found: dict[str, str] = {}
    waiting = list(expressions)
    while waiting:
        who, expression = waiting.pop()
        for name in asked_for(expression) - GIVEN - found.keys():
            found[name] = who
            if name in recorded():
                waiting.append((who, recorded()[name]))
    return {name: who for name, who in found.items() if name not in recorded()}


def test_a_worker_that_worked_shows_every_series_that_a_rule_asks_for(fleet: Fleet):
    there = {sample.name for sample in samples_at(fleet.worker)}

    asked = needed([(str(rule.get("alert") or rule["record"]), rule["expr"]) for rule in rules()])

    assert len(asked) >= 10
    assert {name: who for name, who in asked.items() if name not in there} == {}


def test_a_worker_that_worked_shows_what_every_panel_asks_for_but_how_long_runs_took(fleet: Fleet):
    there = {sample.name for sample in samples_at(fleet.worker)}

    asked = needed(list(panels()))

    assert len(asked) >= 25
    assert {name: who for name, who in asked.items() if name not in there | OF_RUNS} == {}


def test_the_process_that_runs_plans_shows_how_runs_ended_and_how_long_they_took(fleet: Fleet):
    found = {(s.name, s.labels.get("status")): s.value for s in samples_at(fleet.desk)}

    assert found["coterie_run_completed_total", "succeeded"] >= 2
    assert found["coterie_run_duration_seconds_count", "succeeded"] >= 2
    assert {name for name, _ in found} >= OF_RUNS


def test_a_task_that_a_worker_performed_is_counted_there_and_nowhere_else(fleet: Fleet):
    there = {s.labels["agent_type"]: s.value for s in samples_at(fleet.worker) if is_success(s)}
    here = {s.labels["agent_type"]: s.value for s in samples_at(fleet.desk) if is_success(s)}

    assert min(there["writer"], there["researcher"]) >= 6
    assert here == {"writer": 0, "researcher": 0}


def is_success(sample: Sample) -> bool:
    """Whether it says how many tasks of a type succeeded."""
    return sample.name == "coterie_task_completed_total" and sample.labels["outcome"] == "succeeded"


def test_the_numbers_of_a_worker_agree_with_each_other_and_with_the_work(fleet: Fleet):
    found = {(s.name, *sorted(s.labels.items())): s.value for s in samples_at(fleet.worker)}
    of = {"researcher": ("agent_type", "researcher"), "writer": ("agent_type", "writer")}
    done = {name: found["coterie_task_completed_total", label, ("outcome", "succeeded")] for name, label in of.items()}
    cost = {name: found["coterie_run_cost_total", label] for name, label in of.items()}
    tokens = found["coterie_tokens_total", of["writer"], ("direction", "output")]

    # Two runs of three pages, at least; prices and tokens as desk.py has them.
    assert min(done.values()) >= 6
    assert cost["researcher"] == pytest.approx(0.00495 * calls(found, "researcher"))
    assert cost["writer"] == pytest.approx(0.018 * calls(found, "writer"))
    assert tokens == 800 * calls(found, "writer")
    assert found["coterie_agent_slots", ("agent_id", "researcher"), of["researcher"]] == 4
    assert found["coterie_breaker_state", ("breaker", "researcher")] == 0
    assert found["coterie_worker_capacity",] == 6
    assert found["coterie_worker_ready",] == 1


def calls(found: dict[tuple, float], agent_type: str) -> float:
    """How many of an agent's calls had ended."""
    return found["coterie_agent_calls_total", ("agent_type", agent_type), ("outcome", "succeeded")]


def test_nothing_that_is_shown_names_a_run_a_task_or_a_secret(fleet: Fleet):
    samples = samples_at(fleet.worker) + samples_at(fleet.desk)
    texts = {text for sample in samples for text in sample.labels.values()}
    runs = fleet.runs()

    assert len(runs) >= 2
    assert {"researcher", "writer"} <= texts
    for said in [*runs, SECRET, "notes-", "sports", "state.db"]:
        assert [text for text in texts if said in text] == [], said


def test_all_that_is_shown_is_in_the_table_of_metrics(fleet: Fleet):
    known = {name for name, _ in prometheus_names()}
    shown = {s.name for s in samples_at(fleet.worker) + samples_at(fleet.desk) if s.name.startswith("coterie_")}

    assert shown
    assert shown - known == set()


def test_the_labels_that_are_shown_are_those_of_the_table(fleet: Fleet):
    labels = {name: set(each.labels) for name, each in prometheus_names()}

    for sample in samples_at(fleet.worker):
        if sample.name.startswith("coterie_"):
            assert set(sample.labels) - {"le"} == labels[sample.name], sample


@pytest.mark.parametrize(
    ("name", "severity", "says"),
    [
        ("CoterieQueueDeep", "critical", "coterie:queue_depth:tasks > 100"),
        ("CoterieSuccessRateLow", "critical", "coterie:task_success:ratio10m < 0.95"),
        ("CoterieAgentUnhealthy", "critical", "coterie_agent_healthy) == 0"),
        ("CoterieBreakerOpen", "critical", "coterie_breaker_state >= 2"),
        ("CoterieWorkflowTimedOut", "critical", "coterie_task_timeouts_total"),
        ("CoterieErrorRateHigh", "warning", "coterie:call_errors:ratio10m > 0.05"),
        ("CoterieLatencyHigh", "warning", "coterie:task_duration:p95_10m > 300"),
        ("CoterieUtilisationHigh", "warning", "coterie:utilisation:ratio > 0.8"),
        ("CoterieQueueGrowing", "warning", "deriv(coterie:queue_depth:tasks[15m])"),
    ],
)
def test_what_a_fleet_is_watched_for_has_an_alert(name: str, severity: str, says: str):
    alert = alerts()[name]

    assert alert["labels"]["severity"] == severity
    assert says in alert["expr"]


def test_an_agent_is_unhealthy_for_five_minutes_before_anybody_is_woken():
    assert alerts()["CoterieAgentUnhealthy"]["for"] == "5m"


@pytest.mark.parametrize("name", sorted(alerts()))
def test_every_alert_has_a_severity_a_summary_and_a_runbook_that_names_it(name: str):
    alert = alerts()[name]
    page = REPOSITORY / alert["annotations"]["runbook_url"]

    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert page.parent == RUNBOOKS
    assert f"`{name}`" in page.read_text("utf-8")
    assert re.findall(r"^## (.*)$", page.read_text("utf-8"), re.MULTILINE) == ["What it means", "Look", "Do"]


def test_every_runbook_has_an_alert_and_is_in_the_list():
    pages = {path.name for path in RUNBOOKS.glob("*.md")} - {"README.md"}
    urls = {Path(alert["annotations"]["runbook_url"]).name for alert in alerts().values()}
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (RUNBOOKS / "README.md").read_text("utf-8")))

    assert pages == urls
    assert pages <= listed


@pytest.mark.parametrize("name", sorted(alerts()))
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(name: str):
    tests = yaml.safe_load((OBSERVABILITY / "prometheus" / "coterie.rules.test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", ()) if case["alertname"] == name]

    assert any(case["exp_alerts"] for case in cases)
    assert any(not case["exp_alerts"] for case in cases)


def test_dashboards_have_panels_that_say_what_they_show_and_do_not_overlap():
    boards = dashboards()

    assert set(boards) == {"agents.json", "cost.json", "overview.json"}
    assert len({board["uid"] for board in boards.values()}) == 3
    for name, board in boards.items():
        places: set[tuple[int, int]] = set()
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids), name
        for panel in board["panels"]:
            assert panel["type"] == "row" or panel["description"], f"{name}: {panel['title']}"
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert at["x"] + at["w"] <= 24
            assert not cells & places, f"{name}: {panel['title']}"
            places |= cells


def test_series_are_found_in_expressions_whatever_stands_around_them():
    found = asked_for(
        'sum by (agent_type, le) (rate(a_bucket{x=~"b_c|d", y="e_f"}[5m])) / on (g) group_left (h) (coterie:i:j > 0)'
        " and absent(up) or 3 * k offset 5m unless l"
    )

    assert found == {"a_bucket", "coterie:i:j", "up", "k", "l"}


def test_every_metric_of_the_table_has_a_name_of_its_own_in_prometheus():
    names = [name for name, _ in prometheus_names()]

    assert len(set(names)) == len(names)
    assert len(INSTRUMENTS) == len({each.prometheus_name for each in INSTRUMENTS.values()})


def test_json_is_answered_where_no_page_is(fleet: Fleet):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(fleet.worker.replace("/metrics", "/other"), timeout=10)

    with caught.value as answer:
        assert answer.code == 404
        assert json.load(answer) == {"error": "there are /live, /ready and /metrics"}
