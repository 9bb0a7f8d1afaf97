"""The page about metrics, and the runbooks: what they name exists, and nothing is left out."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer.main

from coterie.cli.app import app
from coterie.telemetry.gauges import BREAKER_STATES
from coterie.telemetry.instruments import CLOSED, INSTRUMENTS, SECONDS
from tests.core.architecture.sources import REPOSITORY
from tests.docs.markdown import Page

RUNBOOKS = sorted((REPOSITORY / "docs/how-to/runbooks").glob("*.md"))


def page(name: str) -> Page:
    return Page(name, (REPOSITORY / name).read_text("utf-8"))


def rows(first: str) -> dict[str, list[str]]:
    """The table of the reference page whose first column has that title, by the first cell."""
    (table,) = [table for table in page("docs/reference/metrics.md").tables() if table[0][0] == first]
    return {name.strip("`"): row for row in table[1:] for name in row[0].split(", ")}


def coded(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", text))


def test_every_metric_is_described_with_its_type_unit_and_labels():
    described = {name: (row[1], coded(row[2]), coded(row[3])) for name, row in rows("metric").items()}

    assert described == {name: (each.kind, (each.unit,), each.labels) for name, each in INSTRUMENTS.items()}
    assert all(row[4] for row in rows("metric").values())


def test_every_label_is_described_with_all_that_it_may_say():
    labels = rows("label")

    assert labels.keys() == {label for each in INSTRUMENTS.values() for label in each.labels}
    assert {name: coded(labels[name][1]) for name in CLOSED} == dict(CLOSED)


def test_the_numbers_of_breaker_states_and_the_buckets_are_those_of_the_code():
    states = rows("metric")["coterie.breaker.state"][4]
    buckets = re.search(
        r"end at (.*) and (\d+) seconds, and at (.*) and (\d+) minutes", page("docs/reference/metrics.md").text
    )

    for state, number in BREAKER_STATES.items():
        assert f"{number} {state.replace('_', ' ')}" in states
    assert buckets is not None
    seconds = [float(text) for text in [*buckets[1].split(", "), buckets[2]]]
    minutes = [float(text) * 60 for text in [*buckets[3].split(", "), buckets[4]]]
    assert tuple(seconds + minutes) == SECONDS


def test_a_collector_is_told_of_the_same_buckets():
    said = re.search(r"to_histogram\(\"midpoint\",\s+\[([^]]*)\]", page("docs/reference/metrics.md").text)

    assert said is not None
    assert tuple(map(float, said[1].split(","))) == SECONDS


def commands(text: str) -> list[str]:
    return re.findall(r"`(coterie [^`]+)`", text)


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_every_command_of_a_runbook_is_one_that_exists_with_its_options_and_arguments(path):
    found = commands(path.read_text("utf-8"))

    assert found
    for command in found:
        check(command)


def check(text: str) -> None:
    """Parse a command as the command line does, without doing it."""
    name, *words = shlex.split(text)
    here: Any = typer.main.get_command(app)
    while words and getattr(here, "commands", None):
        name = words.pop(0)
        assert name in here.commands, f"{text!r}: there is no {name!r}"
        here = here.commands[name]
    if not getattr(here, "commands", None):
        here.make_context(name, words)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("coterie brakers list", "there is no 'brakers'"),
        ("coterie breakers rset NAME", "there is no 'rset'"),
        ("coterie runs show", "Missing"),
        ("coterie workers --all", "No such option"),
        ("coterie workers all", "unexpected extra argument"),
    ],
)
def test_a_command_that_does_not_exist_is_caught(text: str, why: str):
    with pytest.raises(Exception, match=why):
        check(text)


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_every_metric_that_a_runbook_names_exists(path):
    known = {each.prometheus_name for each in INSTRUMENTS.values()}

    named = set(re.findall(r"`(coterie_\w+)`", path.read_text("utf-8")))

    assert named <= known
