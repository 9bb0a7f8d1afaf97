"""What Airflow learns of this distribution."""

from __future__ import annotations

import json
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
        *(module for entry in [*info["hooks"], *info["operators"]] for module in entry["python-modules"]),
        *(entry["hook-class-name"] for entry in info["connection-types"]),
        *(entry["class-name"] for entry in info["task-decorators"]),
        *(entry["plugin-class"] for entry in info["plugins"]),
    ]

    for path in named:
        assert import_string(path) if path.rpartition(".")[2][0].isupper() or "task" in path else __import__(path)


def test_airflow_finds_provider_connection_and_decorator():
    manager = ProvidersManagerTaskRuntime()

    assert "airflow-provider-coterie" in ProvidersManager().providers
    assert manager.hooks["coterie"].hook_name == "Coterie"
    assert "coterie_agent" in dict(manager.taskflow_decorators)


def test_the_connection_form_asks_for_nothing_secret():
    (form,) = get_provider_info()["connection-types"]

    assert {"password", "login", "extra"} <= set(form["ui-field-behaviour"]["hidden-fields"])
    assert not any(field["schema"].get("format") == "password" for field in form["conn-fields"].values())


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
