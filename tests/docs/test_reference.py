"""The reference pages leave nothing out: compared with the code that they describe."""

from __future__ import annotations

import json
import re
from dataclasses import fields

import pytest
import typer.main

import coterie
from coterie import (
    Aimd,
    Approval,
    BreakerPolicy,
    Fallback,
    Field,
    ForEach,
    Plan,
    Policies,
    PoolPolicy,
    Retry,
    RetryAllowance,
    Spend,
    Task,
    TaskContext,
    When,
    errors,
)
from coterie._rules.progress import decide
from coterie._rules.status import EXIT_CODES
from coterie.cli.app import app
from coterie.saga import SagaPolicy
from coterie.task import Compensation
from tests.docs.markdown import REPOSITORY, Page, pages

PAGES = {page.name: page for page in pages()}
SOURCES = ["core/src", "airflow_provider/src", "prefect_blocks/src"]
# Between the tester and the process that it starts: nobody else sets them.
INTERNAL = {"COTERIE_OUTCOMES", "COTERIE_TARGET"}
# Of the systemd unit in `deploy/worker`, whose page has them: the doctor knows them, and nothing reads them.
OF_UNITS = {"COTERIE_TEAM", "COTERIE_TYPES", "COTERIE_HEALTH"}
# How the tasks before a task ended: all, succeeded, skipped, failed; in the order of the table's columns.
ENDS = [(3, 3, 0, 0), (3, 2, 1, 0), (3, 2, 0, 1), (3, 0, 3, 0), (3, 0, 0, 3)]


def reference(name: str) -> Page:
    return PAGES[f"docs/reference/{name}.md"]


def coded(text: str) -> set[str]:
    """What stands between backticks."""
    return set(re.findall(r"`([^`]+)`", text))


def first_cells(page: Page) -> list[set[str]]:
    """For each table, what its first column names."""
    return [set().union(*(coded(row[0]) for row in rows)) for _, *rows in page.tables()]


@pytest.mark.parametrize("kind", [Task, Retry, When, ForEach, Compensation, Approval, Field, SagaPolicy])
def test_every_field_of_a_plan_is_described(kind: type):
    names = {field.name for field in fields(kind)}

    assert names in first_cells(reference("plan"))


@pytest.mark.parametrize("kind", [Policies, BreakerPolicy, PoolPolicy, Aimd, Spend, RetryAllowance, Fallback])
def test_every_field_of_a_policy_is_described_with_its_default(kind: type):
    defaults = {field.name: field.default for field in fields(kind)}
    numbers = {name: value for name, value in defaults.items() if type(value) in (int, float)}

    tables = [{row[0].strip("`"): row[1] for row in rows} for _, *rows in reference("policies").tables()]

    described = [table for table in tables if set(table) == set(defaults)]
    assert len(described) == 1
    assert {name: float(described[0][name]) for name in numbers} == numbers


def test_every_field_of_the_plan_itself_is_described():
    assert {"name", "tasks", "params", "outputs", "saga"} in first_cells(reference("plan"))


def test_the_schema_beside_the_page_is_the_plan_s():
    stored = json.loads((REPOSITORY / "docs/reference/plan.schema.json").read_text("utf-8"))

    assert stored == Plan.json_schema()


def test_the_table_of_trigger_rules_is_what_the_engine_decides():
    said = {"run": "runs", "skip": "skipped", "block": "upstream_failed"}

    _, *rows = next(reference("trigger-rules").tables())

    shown = {row[0].strip("`"): row[1:] for row in rows}
    assert shown == {
        rule: [said[decide(rule, *ends)] for ends in ENDS]
        for rule in ("all_success", "all_done", "one_success", "none_failed")
    }


def test_every_error_has_a_next_step():
    assert {name for name in errors.__all__ if name != "CoterieError"} in first_cells(reference("errors"))


def test_every_exit_code_of_a_run_is_described():
    tables = [rows for _, *rows in reference("runs").tables()]

    shown = {row[0].strip("`"): row[1] for rows in tables for row in rows if row[0].strip("`") in EXIT_CODES}
    assert {status: str(code) for status, code in EXIT_CODES.items()}.items() <= shown.items()


def leaves(command, name: str) -> dict:
    """The commands that do something, by what is typed: those of a group, not the group."""
    inside = getattr(command, "commands", None)
    if inside is None:
        return {name: command}
    return {key: leaf for word, one in inside.items() for key, leaf in leaves(one, f"{name} {word}").items()}


def test_every_command_and_option_is_described():
    group = typer.main.get_command(app)
    commands = leaves(group, "coterie")
    options = {
        name
        for command in [group, *commands.values()]
        for option in command.params
        for name in [*option.opts, *option.secondary_opts]
    }

    described = set().union(*first_cells(reference("command-line")))

    assert {name for name in options if name.startswith("-")} - described - {"--help", "-h"} == set()
    # `coterie runs [list]` stands for both.
    typed = {re.sub(r"[][]", "", text) for text in described}
    assert {name for name in commands if not any(f"{text} ".startswith(f"{name} ") for text in typed)} == set()


def test_every_environment_variable_is_described():
    read = {
        name
        for folder in SOURCES
        for path in (REPOSITORY / folder).rglob("*.py")
        for name in re.findall(r"\bCOTERIE_[A-Z_]+\b", path.read_text("utf-8"))
    }

    assert read - INTERNAL - OF_UNITS == first_cells(reference("configuration"))[0]


def test_what_an_agent_is_given_is_described():
    page = reference("team")

    missing = {
        name
        for name in ["item", "item_key", "item_index", "attempt", "deadline", *vars(TaskContext)]
        if isinstance(getattr(TaskContext, name, None), property) and f"`{name}`" not in page.text
    }

    assert missing == set()


def test_every_extra_is_described():
    import tomllib

    project = tomllib.loads((REPOSITORY / "core/pyproject.toml").read_text("utf-8"))["project"]

    assert set(project["optional-dependencies"]) in first_cells(reference("configuration"))


def test_the_changelog_speaks_of_this_version():
    assert coterie.__version__ in PAGES["CHANGELOG.md"].text


def test_the_first_screen_of_the_readme_is_one():
    lines = PAGES["README.md"].text.splitlines()

    assert next(number for number, line in enumerate(lines) if line.startswith("## ")) <= 41
