"""The table of spans and attributes is what the code makes, and what the reference says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes, messaging_attributes
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.semconv.schemas import Schemas

from coterie._rules.lap import KINDS
from coterie.telemetry import names

PAGE = (Path(__file__).resolve().parents[3] / "docs/reference/telemetry.md").read_text()


def rows(title: str) -> list[list[str]]:
    part = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return [re.split(r" \| ", line[2:-2]) for line in part.splitlines() if line.startswith("| `")]


def test_the_reference_has_every_span_with_its_attributes():
    said = [(name, kind, made, attributes) for name, kind, made, attributes in rows("The spans")]

    assert said == [
        (f"`{span.name}`", span.kind, span.made, ", ".join(f"`{one}`" for one in dict.fromkeys(span.attributes)))
        for span in names.SPANS
    ]


def test_the_reference_has_every_attribute():
    assert rows("The attributes") == [[f"`{one.name}`", one.type, one.means] for one in names.ATTRIBUTES]


def test_the_reference_names_the_version_of_the_conventions():
    assert f"semantic conventions {names.SEMCONV}" in PAGE
    assert names.SCHEMA_URL in {schema.value for schema in Schemas}


def test_each_attribute_of_a_span_is_in_the_table_and_each_of_the_table_is_on_a_span():
    listed = [one.name for one in names.ATTRIBUTES]
    used = {attribute for span in names.SPANS for attribute in span.attributes}

    assert len(listed) == len(set(listed))
    assert set(listed) == used


@pytest.mark.parametrize("name", [one.name for one in names.ATTRIBUTES if not one.name.startswith("coterie.")])
def test_attributes_that_are_not_ours_are_those_of_the_conventions(name: str):
    known = {
        value
        for module in (gen_ai_attributes, messaging_attributes, error_attributes)
        for constant, value in vars(module).items()
        if constant.isupper() and isinstance(value, str)
    }

    assert name in known


def test_each_kind_of_lap_has_a_span_or_is_told_otherwise():
    spans = {span.name.split()[0] for span in names.SPANS}

    assert set(KINDS) - spans == {"refused", "call"}
