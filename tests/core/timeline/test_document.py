"""The document of a timeline: what it says, and that the reference says the same."""

from __future__ import annotations

import json
import re
from typing import get_args

from coterie.timeline import document_of
from coterie.timeline.span import Time
from tests.core.timeline.synthetic import synthetic_document, synthetic_timeline
from tests.docs.markdown import REPOSITORY, Page

PAGE = "docs/reference/runs.md"


def described() -> tuple[set[str], set[str], str]:
    """The fields of the document and of a span that the reference has, and all that it says of them."""
    text = (REPOSITORY / PAGE).read_text("utf-8").partition("## The timeline as JSON")[2].partition("\n## ")[0]
    document, span = (
        {name for row in rows for name in re.findall(r"`(\w+)`", row[0])} for _, *rows in Page(PAGE, text).tables()
    )
    return document, span, text


def test_the_reference_describes_every_field():
    found = synthetic_document(1, 300)
    in_document, in_span, text = described()

    assert set(found) == in_document
    assert {name for span in found["spans"] for name in span} == in_span
    for part in ("run", "first_failure", "tried_again"):
        assert all(f"`{name}`" in text for name in found[part]), part
    assert all(f"`{name}`" in text for name in get_args(Time))


def test_it_is_json_and_the_same_each_time():
    timeline = synthetic_timeline(3, 200)

    assert json.loads(json.dumps(document_of(timeline))) == document_of(timeline)
    assert synthetic_document(3, 200) == document_of(timeline)


def test_where_the_time_went_adds_up_to_the_run():
    document = synthetic_document(4, 400)
    run = document["run"]

    length_s = ((run["ended_us"] or run["now_us"]) - run["begun_us"]) / 1e6

    assert abs(sum(document["where"].values()) - length_s) < 1e-6


def test_usage_adds_up():
    usage = synthetic_document(5, 400)["usage"]

    for part in ("by_task", "by_agent_type"):
        for name, value in usage["total"].items():
            assert sum(each[name] for each in usage[part].values()) == value > 0


def test_what_failed_first_failed_before_all_else():
    document = synthetic_document(6, 400)
    spans = {span["id"]: span for span in document["spans"]}
    units = [span for span in spans.values() if "error_type" in span.get("facts", {})]

    first = document["first_failure"]

    assert first["at_us"] == min(span["ended_us"] for span in units)
    assert spans[first["span"]]["facts"]["error_message"] == first["message"]
