"""The compose file of `deploy/observability`, as far as can be told without Docker: whatever it names is there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from coterie.cli.app import app
from tests.core.metrics.desk import OBSERVABILITY, Fleet, fleet_at_work
from tests.core.metrics.promql import DASHBOARDS, dashboards, rules

# As the Compose Specification has them, of those that may stand here.
SERVICE_KEYS = {
    *("image", "build", "command", "environment", "volumes", "ports", "healthcheck", "depends_on", "deploy"),
    "stop_grace_period",
}
# Where the images keep what they read.
IN_IMAGE = {"/srv/desk/desk.py"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((OBSERVABILITY / "docker-compose.yml").read_text())


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """What a service mounts, by the place where it finds it."""
    return {each.split(":")[1]: each.split(":")[0] for each in service.get("volumes", ())}


def test_it_has_the_fleet_the_metrics_the_dashboards_and_the_traces(compose: dict[str, Any]):
    assert compose.keys() <= {"name", "services", "volumes", "x-coterie"}
    assert set(compose["services"]) == {"valkey", "worker", "desk", "prometheus", "grafana", "traces"}
    for name, service in compose["services"].items():
        assert service.keys() <= SERVICE_KEYS, name
        assert service.get("depends_on", {}).__class__ in (dict, list)
        assert set(service.get("depends_on", ())) <= set(compose["services"]), name


def test_every_image_is_pinned_and_the_one_that_is_built_has_its_files(compose: dict[str, Any]):
    services = compose["services"]
    build = services["worker"]["build"]
    recipe = OBSERVABILITY / build["context"] / build["dockerfile"]

    pulled = [each["image"] for each in services.values() if "build" not in each]
    copied = re.findall(r"^COPY (\S+)", recipe.read_text(), re.MULTILINE)
    ignored = Path(f"{recipe}.dockerignore").read_text().splitlines()

    assert len(pulled) == 4
    assert all(re.fullmatch(r"docker\.io/[\w./-]+:v?\d+\.\d+[\w.-]*", image) for image in pulled)
    assert copied
    for path in copied:
        assert (OBSERVABILITY / build["context"] / path).exists()
        assert f"!{path}" in ignored


def test_every_volume_is_declared_and_every_file_that_is_mounted_is_there(compose: dict[str, Any]):
    sources = {source for service in compose["services"].values() for source in mounts(service).values()}
    files = {source for source in sources if source.startswith(".")}

    assert sources - files == set(compose["volumes"])
    assert files
    assert all((OBSERVABILITY / each).exists() for each in files)


def test_ports_are_open_to_this_machine_alone_and_none_twice(compose: dict[str, Any]):
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]

    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports) == 3


def test_whoever_is_waited_for_says_whether_it_is_well(compose: dict[str, Any]):
    services = compose["services"]
    waited_for = {
        name
        for service in services.values()
        for name, how in (service["depends_on"] if isinstance(service.get("depends_on"), dict) else {}).items()
        if how["condition"] == "service_healthy"
    }

    assert waited_for == {"valkey"}
    assert {name for name, service in services.items() if "healthcheck" in service} >= {
        "valkey",
        "worker",
        "prometheus",
        "grafana",
    }


def test_the_worker_s_health_check_tells_one_that_is_ready_from_none(compose: dict[str, Any], fleet: Fleet):
    kind, python, option, program = compose["services"]["worker"]["healthcheck"]["test"]
    ready = fleet.worker.replace("/metrics", "/ready")

    def code(url: str) -> int:
        assert "http://127.0.0.1:8080/ready" in program
        here = program.replace("http://127.0.0.1:8080/ready", url)
        return subprocess.run([sys.executable, option, here], capture_output=True, timeout=60, check=False).returncode

    assert (kind, python) == ("CMD", "python")
    assert code(ready) == 0
    assert code("http://127.0.0.1:1/ready") != 0


def test_the_desk_finishes_its_run_when_it_is_stopped(compose: dict[str, Any], tmp_path: Path):
    # In a container it is the first process, which hears of no signal that it does not handle.
    with fleet_at_work(tmp_path, until="run 1: succeeded") as fleet:
        assert fleet.running is not None
        fleet.running.send_signal(signal.SIGTERM)

        assert fleet.running.wait(timeout=60) == 0
    begun = len(fleet.runs())
    assert (tmp_path / "desk.log").read_text().count(": succeeded\n") == begun >= 1
    assert {compose["services"][name]["stop_grace_period"] for name in ("worker", "desk")} == {"45s"}


def test_the_journal_knows_whose_runs_these_are(tmp_path: Path):
    with fleet_at_work(tmp_path, until="run 1: succeeded") as fleet:
        run = min(fleet.runs())
    command = [sys.executable, "-m", "coterie", "runs", "diff", run, "--store", f"sqlite://{tmp_path}/state.db"]
    env = {**os.environ, "PYTHONPATH": f"{OBSERVABILITY}"}

    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "replays" in done.stdout


def test_the_commands_are_ones_that_coterie_has(compose: dict[str, Any]):
    program, name, *words = compose["services"]["worker"]["command"].split()
    (command,) = [each for each in app.registered_commands if (each.name or each.callback.__name__) == name]

    assert program == "coterie"
    assert command is not None
    assert words[words.index("--health") + 1] == "0.0.0.0:8080"
    assert compose["services"]["desk"]["command"].split()[-1] in IN_IMAGE


def test_grafana_finds_its_dashboards_and_its_sources(compose: dict[str, Any]):
    grafana, services = compose["services"]["grafana"], compose["services"]
    provisioning = OBSERVABILITY / mounts(grafana)["/etc/grafana/provisioning"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "coterie.yml").read_text())["providers"]
    sources = yaml.safe_load((provisioning / "datasources" / "coterie.yml").read_text())["datasources"]

    assert (OBSERVABILITY / mounts(grafana)[provider["options"]["path"]]).resolve() == DASHBOARDS
    assert {re.fullmatch(r"http://(\w+):\d+", each["url"])[1] for each in sources} <= set(services)  # type: ignore[index]
    chosen = {each["query"] for board in dashboards().values() for each in variables(board, "datasource")}
    assert chosen == {each["type"] for each in sources if each.get("isDefault")}


def variables(board: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Of a dashboard, those that a person may choose."""
    return [each for each in board["templating"]["list"] if each["type"] == kind]


def test_the_scraped_jobs_are_those_that_alerts_and_compose_know(compose: dict[str, Any]):
    folder = OBSERVABILITY / mounts(compose["services"]["prometheus"])["/etc/prometheus"]
    text = (folder / "prometheus.yml").read_text()
    config = yaml.safe_load(text)
    hosts = {name for pair in re.findall(r'names: \[(\w+)\]|targets: \["(\w+):', text) for name in pair if name}

    assert set(re.findall(r'job="([^"]+)"', " ".join(rule["expr"] for rule in rules()))) <= {
        job["job_name"] for job in config["scrape_configs"]
    }
    assert hosts - {"alertmanager"} <= set(compose["services"])
    assert all((folder / each).exists() for each in config["rule_files"])


def test_traces_are_sent_to_the_service_that_keeps_them(compose: dict[str, Any]):
    for name in ("worker", "desk"):
        environment = compose["services"][name]["environment"]

        assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://traces:4318"
        assert environment["OTEL_EXPORTER_OTLP_PROTOCOL"] == "http/protobuf"
        assert environment["COTERIE_STORE"] == "redis://valkey:6379/0"
