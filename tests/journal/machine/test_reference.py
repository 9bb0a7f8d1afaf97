"""The reference page leaves nothing out."""

from __future__ import annotations

import json
import re
from dataclasses import fields

import pytest

from coterie.machine import StateMachine
from coterie.state import TRIGGERS, Action, Go, Guard, State
from tests.docs.markdown import REPOSITORY, pages

PAGE = next(page for page in pages() if page.name == "docs/reference/state-machine.md")


def first_columns() -> list[list[str]]:
    return [re.findall(r"`([^`]+)`", " ".join(row[0] for row in rows)) for _, *rows in PAGE.tables()]


@pytest.mark.parametrize("kind", [State, Go, Guard, Action])
def test_every_field_is_described(kind: type):
    assert sorted(field.name for field in fields(kind)) in [sorted(column) for column in first_columns()]


def test_every_field_of_the_machine_is_described():
    names = [field.name for field in fields(StateMachine) if not field.name.startswith("_")]

    assert sorted(names) in [sorted(column) for column in first_columns()]


def test_every_trigger_is_described():
    assert [name for name in TRIGGERS if name != "cancelled"] in first_columns()


def test_the_schema_beside_the_page_is_the_machine_s():
    stored = json.loads((REPOSITORY / "docs/reference/state-machine.schema.json").read_text("utf-8"))

    assert stored == StateMachine.json_schema()


def test_the_machine_in_yaml_is_one():
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.text, re.DOTALL)

    assert [StateMachine.from_yaml(block).name for block in blocks] == ["review"]
