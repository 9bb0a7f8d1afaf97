"""What Airflow learns of this distribution."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files

import pytest
from airflow.providers_manager import ProvidersManager
from airflow.sdk._shared.module_loading import import_string
from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime
from jsonschema import validate

from airflow_provider_coterie.get_provider_info import get_provider_info
from airflow_provider_coterie.note import note_of, with_line


def test_the_provider_s_metadata_is_valid():
    validate(get_provider_info(), json.loads((files("airflow") / "provider_info.schema.json").read_text()))


def test_everything_that_the_metadata_names_exists():
    info = get_provider_info()
    named = [
        *(
            module
            for kind in ("hooks", "operators", "sensors", "triggers")
            for entry in info[kind]
            for module in entry["python-modules"]
        ),
        *(entry["hook-class-name"] for entry in info["connection-types"]),
        *(entry["class-name"] for entry in info["task-decorators"]),
        *(entry["plugin-class"] for entry in info["plugins"]),
        *info["queues"],
    ]

    for path in named:
        assert import_string(path) if path.rpartition(".")[2][0].isupper() or "task" in path else __import__(path)


def test_airflow_finds_provider_connection_and_decorator():
    manager = ProvidersManagerTaskRuntime()

    assert "airflow-provider-coterie" in ProvidersManager().providers
    assert manager.hooks["coterie"].hook_name == "Coterie"
    assert "coterie_agent" in set(manager.taskflow_decorators)
    assert (
        "airflow_provider_coterie.events.queue_provider.CoterieMessageQueueProvider"
        in ProvidersManager().queue_class_names
    )


def test_the_connection_form_asks_for_one_secret_in_the_field_that_airflow_hides():
    (form,) = get_provider_info()["connection-types"]

    assert {"login", "extra"} <= set(form["ui-field-behaviour"]["hidden-fields"])
    assert form["ui-field-behaviour"]["relabeling"] == {"password": "Password of the state store"}
    assert not any(field["schema"].get("format") == "password" for field in form["conn-fields"].values())


def test_every_public_name_is_loaded_when_it_is_used_and_not_before():
    script = """
import sys
import airflow_provider_coterie as provider
heavy = ("airflow_provider_coterie.", "coterie", "redis", "airflow.")
loaded = [name for name in sys.modules if name.startswith(heavy)]
assert not loaded, loaded
assert {name for name in provider.__all__ if getattr(provider, name).__name__ != name} == set()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_a_dag_file_loads_neither_triggers_nor_stores_nor_clients():
    script = """
import sys
from airflow.sdk import DAG
before = set(sys.modules)
from airflow_provider_coterie import CoterieAgentOperator, CoterieBreakerSensor, CoteriePoolSensor, CoterieRetryPolicy
from airflow_provider_coterie import CoterieEventSensor, CoteriePublishEventOperator, received_events
with DAG("quick", schedule=None):
    CoterieAgentOperator(task_id="one", agent_type="writer", retry_policy=CoterieRetryPolicy())
    CoterieBreakerSensor(task_id="two", breaker="writer", deferrable=True)
    CoteriePoolSensor(task_id="three", agent_type="worker", deferrable=True)
    CoteriePublishEventOperator(task_id="four", event_type="com.example.done")
    CoterieEventSensor(task_id="five", types="com.example.done", deferrable=True)
    CoterieAgentOperator(task_id="six", agent_type="writer", placement="remote")
heavy = ("redis", "httpx", "coterie.stores", "coterie.bus", "coterie.remote.calls", "airflow_provider_coterie.triggers")
heavy += ("airflow_provider_coterie.outlook", "airflow_provider_coterie.remote.call_trigger")
heavy += ("airflow.triggers.shared_stream",)
loaded = [name for name in set(sys.modules) - before if name.startswith(heavy)]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ({"status": "succeeded", "missing": []}, "coterie: succeeded"),
        ({"status": "partial", "missing": ["lint", "docs"]}, "coterie: partial — missing: lint, docs"),
        ({"status": "failed", "missing": ["a"], "missing_count": 40}, "coterie: failed — missing: a, 39 more"),
    ],
)
def test_a_note_is_one_line(status, line):
    assert note_of(status) == line


def test_a_person_s_note_is_kept_and_ours_replaced():
    first = with_line("watch this one", ["coterie: failed"])

    assert with_line(first, ["coterie: succeeded"]) == "watch this one\ncoterie: succeeded"
