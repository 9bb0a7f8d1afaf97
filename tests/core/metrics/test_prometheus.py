"""With the real programs: each alert fires when it should, and Prometheus reads a real worker."""

from __future__ import annotations

import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.core.metrics.desk import OBSERVABILITY, Fleet, fleet_at_work
from tests.core.metrics.prometheus import Prometheus, as_grafana_asks, prometheus_of
from tests.core.metrics.promql import RULES, alerts, asked_for, panels, rules
from tests.support.redis_servers import wait_until

pytestmark = pytest.mark.system


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *words], cwd=OBSERVABILITY / "prometheus", capture_output=True, text=True, timeout=120, check=False
    )


def test_the_rules_and_the_configuration_are_sound():
    checked = promtool("check", "rules", RULES.name), promtool("check", "config", "prometheus.yml")

    assert [each.returncode for each in checked] == [0, 0], [each.stderr for each in checked]
    assert f"SUCCESS: {len(rules())} rules found" in checked[0].stdout


def test_every_alert_fires_when_it_should_and_not_otherwise():
    tested = promtool("test", "rules", "coterie.rules.test.yml")

    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("expression", ["vector(1)", "vector(1) > 2"], ids=["fires always", "never fires"])
@pytest.mark.parametrize("name", sorted(alerts()))
def test_an_alert_that_fires_always_or_never_does_not_pass(tmp_path: Path, name: str, expression: str):
    document = yaml.safe_load(RULES.read_text())
    (rule,) = [rule for group in document["groups"] for rule in group["rules"] if rule.get("alert") == name]
    rule["expr"] = expression
    (tmp_path / RULES.name).write_text(yaml.safe_dump(document))
    (tmp_path / "test.yml").write_text((OBSERVABILITY / "prometheus" / "coterie.rules.test.yml").read_text())

    tested = promtool("test", "rules", str(tmp_path / "test.yml"))

    assert tested.returncode == 1
    assert name in tested.stdout + tested.stderr


def test_a_rule_that_is_broken_does_not_pass(tmp_path: Path):
    folder = OBSERVABILITY / "prometheus"
    for name in (RULES.name, "coterie.rules.test.yml"):
        (tmp_path / name).write_text((folder / name).read_text().replace("* 60 > 3 and", "* 60 > 9 and"))

    tested = promtool("test", "rules", str(tmp_path / "coterie.rules.test.yml"))

    assert tested.returncode == 1
    assert "CoterieQueueGrowing" in tested.stdout + tested.stderr


@pytest.fixture(scope="module")
def prometheus(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that has scraped the fleet a few times, with the repository's own rules."""
    with prometheus_of(fleet, tmp_path_factory.mktemp("prometheus")) as found:
        # A run, and its last call, ended between two scrapes.
        runs, calls = "increase(coterie_run_completed_total[5m]) > 0", "count(coterie:call_errors:ratio10m) == 2"
        wait_until(lambda: bool(found.values(runs) and found.values(calls)), "work is seen", within_s=60)
        yield found


def test_it_reads_the_worker_and_the_process_that_runs_plans(prometheus: Prometheus):
    assert prometheus.values('up{job="coterie-worker"}') == [1.0]
    assert prometheus.values('up{job="coterie-run"}') == [1.0]
    assert prometheus.values("coterie_worker_ready") == [1.0]
    assert min(prometheus.values('coterie_task_completed_total{outcome="succeeded",job="coterie-worker"}')) >= 3


def test_every_rule_can_be_evaluated_and_no_alert_fires_for_a_fleet_that_is_well(prometheus: Prometheus):
    found = [rule for group in prometheus.get("/rules")["groups"] for rule in group["rules"]]

    assert len(found) == len(rules())
    assert {rule["name"]: rule.get("lastError") for rule in found if rule["health"] != "ok"} == {}
    assert [rule["name"] for rule in found if rule.get("state") == "firing"] == []


def test_every_metric_that_an_alert_or_a_panel_names_is_in_what_was_scraped(prometheus: Prometheus):
    asked = [(str(rule.get("alert") or rule["record"]), rule["expr"]) for rule in rules()] + list(panels())

    named = {name: who for who, expression in asked for name in asked_for(as_grafana_asks(expression))}

    assert len(named) >= 30
    assert {name: who for name, who in named.items() if name not in prometheus.names()} == {}


@pytest.mark.parametrize("name", sorted(alerts()))
def test_every_alert_s_expression_is_answered(prometheus: Prometheus, name: str):
    query = urllib.parse.urlencode({"query": alerts()[name]["expr"]})

    assert prometheus.get(f"/query?{query}")["resultType"] == "vector"


def test_slots_of_a_process_that_leaves_the_work_to_workers_do_not_count(prometheus: Prometheus):
    assert prometheus.values('sum(coterie_agent_slots{agent_type="writer"})') == [4.0]
    assert prometheus.values('coterie:agent_slots:at_work{agent_type="writer"}') == [2.0]


def test_every_panel_has_something_to_show(prometheus: Prometheus):
    empty = {where for where, expression in panels() if not prometheus.values(as_grafana_asks(expression))}

    assert empty == set()


def test_an_expression_that_is_none_is_an_error(prometheus: Prometheus):
    with pytest.raises(AssertionError, match="parse error"):
        prometheus.values("sum by (agent_type (coterie_queue_depth)")


def test_the_compose_file_s_health_check_of_it_tells_whether_it_is_well(prometheus: Prometheus):
    services = yaml.safe_load((OBSERVABILITY / "docker-compose.yml").read_text())["services"]
    _, program, query, instant, url, expression = services["prometheus"]["healthcheck"]["test"]

    assert (program, url) == ("promtool", "http://127.0.0.1:9090")
    assert promtool(query, instant, prometheus.url, expression).returncode == 0
    assert promtool(query, instant, "http://127.0.0.1:1", expression).returncode != 0


# In trouble. What takes minutes is made to take seconds; everything else is the rules'.
HASTE = {"for: 5m": "for: 1s", "for: 10m": "for: 1s", "[10m]": "[10s]"}


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that scrapes a fleet whose provider is down."""
    folder = tmp_path_factory.mktemp("troubled")
    text = RULES.read_text()
    for slow, quick in HASTE.items():
        assert slow in text
        text = text.replace(slow, quick)
    (folder / "hasty.yml").write_text(text)
    with (
        fleet_at_work(folder, trouble=1.0, until="") as fleet,
        prometheus_of(fleet, folder, folder / "hasty.yml") as it,
    ):
        yield it


@pytest.mark.parametrize("name", ["CoterieBreakerOpen", "CoterieAgentUnhealthy", "CoterieErrorRateHigh"])
def test_an_alert_fires_where_agents_fail_and_their_breaker_opens(troubled: Prometheus, name: str):
    wait_until(lambda: name in troubled.firing(), f"{name} fires", within_s=60)


def test_what_is_not_the_matter_is_not_told(troubled: Prometheus):
    wait_until(lambda: "CoterieBreakerOpen" in troubled.firing(), "the breaker's alert fires", within_s=60)

    assert troubled.firing() & {"CoterieQueueDeep", "CoterieWorkerGone", "CoterieDeadLetters"} == set()
