"""With the real programs: each alert fires when it should, and Prometheus reads a real worker."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.core.metrics.desk import OBSERVABILITY, Fleet
from tests.core.metrics.promql import RULES, panels, rules
from tests.support.redis_servers import free_port, wait_until
from tests.support.running import process

pytestmark = pytest.mark.system

# As Grafana would fill them in.
VARIABLES = {"$__rate_interval": "30s", "$__range": "5m", "$agent_type": ".*"}


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
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config = yaml.safe_load((OBSERVABILITY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(RULES)]
    for job in config["scrape_configs"]:
        url = fleet.worker if job["job_name"] == "coterie-worker" else fleet.desk
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [urllib.parse.urlsplit(url).netloc]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    found = Prometheus(f"http://127.0.0.1:{port}/api/v1")
    with process([*command, f"--web.listen-address=127.0.0.1:{port}"], {}, folder / "prometheus.log"):
        # A run, and its last call, ended between two scrapes.
        runs, calls = "increase(coterie_run_completed_total[5m]) > 0", "count(coterie:call_errors:ratio10m) == 2"
        wait_until(lambda: bool(found.values(runs) and found.values(calls)), "work is seen", within_s=60)
        yield found


class Prometheus:
    """Asks one over HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str) -> Any:
        """What it answers; None while it does not."""
        try:
            with urllib.request.urlopen(f"{self._url}{path}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
                    # It is starting.
                    return None
                raise AssertionError(error.read().decode()) from error
        except OSError:
            return None

    def values(self, query: str) -> list[float]:
        """What an expression is now."""
        found = self.get(f"/query?{urllib.parse.urlencode({'query': query})}")
        return [float(each["value"][1]) for each in (found or {"result": []})["result"]]


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


def test_every_panel_has_something_to_show(prometheus: Prometheus):
    def filled(expression: str) -> str:
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        return expression

    empty = {where for where, expression in panels() if not prometheus.values(filled(expression))}

    assert empty == set()
