"""Where a run's trace is to be seen: templates, what fills them, and what is none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.errors import PolicyError
from coterie.telemetry.links import TraceUrl, run_trace_id_text, trace_url_of

REPOSITORY = Path(__file__).resolve().parents[3]
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("template", "link"),
    [
        ("http://localhost:16686/trace/{trace_id}", f"http://localhost:16686/trace/{TRACE}"),
        ("http://localhost:6006/redirects/traces/{trace_id}", f"http://localhost:6006/redirects/traces/{TRACE}"),
        ("http://127.0.0.1:8787/runs/{run_id}", "http://127.0.0.1:8787/runs/airflow.d.manual__1%2B00%3A00"),
        (
            "https://o.example/{namespace}?q={run_id}#{task_id}",
            "https://o.example/blue?q=airflow.d.manual__1%2B00%3A00#a%2Fb%20%26c",
        ),
        (
            "https://g.example/explore?panes=%7B%22q%22:%22{trace_id}%22%7D",
            f"https://g.example/explore?panes=%7B%22q%22:%22{TRACE}%22%7D",
        ),
    ],
)
def test_the_fields_of_a_template_are_filled_and_encoded(template: str, link: str):
    url = TraceUrl(template)

    made = url.link("airflow.d.manual__1+00:00", namespace="blue", trace_id=TRACE, task_id="a/b &c")

    assert made == link


@given(st.text(max_size=40).filter(lambda text: text.isprintable()))
def test_no_value_gets_out_of_its_place(value: str):
    link = TraceUrl("https://o.example/r/{run_id}/t?n={namespace}#{task_id}").link(
        value, namespace=value, task_id=value
    )

    assert link.count("/") == 5
    assert (link.count("?"), link.count("#"), link.count("&")) == (1, 1, 0)
    assert link.startswith("https://o.example/r/")
    assert link.isascii()


def test_the_templates_that_the_documentation_names_can_be_used():
    page = (REPOSITORY / "docs/how-to/find-out-where-the-time-went.md").read_text("utf-8")
    templates = re.findall(r"\| `(https?://[^`]+)` \|", page)

    links = [TraceUrl(template).link("r", namespace="n", trace_id=TRACE) for template in templates]

    assert len(links) == 4
    assert links[:2] == ["http://127.0.0.1:8787/runs/r", f"http://localhost:16686/trace/{TRACE}"]
    (panes,) = parse_qs(urlsplit(links[3]).query)["panes"]
    (query,) = json.loads(panes)["a"]["queries"]
    assert (query["queryType"], query["query"]) == ("traceql", TRACE)


def test_an_unknown_field_is_named_with_those_that_there_are():
    with pytest.raises(PolicyError) as caught:
        TraceUrl("http://h/{trace}", "'trace_url' of the connection 'c'")

    assert str(caught.value) == (
        "'trace_url' of the connection 'c' has a field 'trace'; "
        "there are '{trace_id}', '{run_id}', '{namespace}' and '{task_id}'"
    )


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("javascript:alert({run_id})", "no http or https URL"),
        ("localhost:16686/trace/{trace_id}", "no http or https URL"),
        ("http:///trace/{trace_id}", "no http or https URL"),
        ("http://[::1/{trace_id}", "no http or https URL"),
        ("http://h/a b/{trace_id}", "no http or https URL"),
        ("http://h/{trace_id}\n", "no http or https URL"),
        ("http://h/trace/", "same page for all runs"),
        ("http://h/{namespace}/{task_id}", "same page for all runs"),
        ("http://{run_id}/", "a field in its host"),
        ('http://h/?panes={"a":"{trace_id}"}', "a brace|a field"),
        ("http://h/{{trace_id}}", "a brace"),
        ("http://h/{trace_id", "a brace"),
        ("http://h/{}", "a field ''"),
    ],
)
def test_what_is_no_template_is_refused_with_the_next_step(template: str, why: str):
    with pytest.raises(PolicyError, match=why):
        TraceUrl(template)


def test_credentials_are_refused_and_not_shown():
    with pytest.raises(PolicyError) as caught:
        TraceUrl("https://me:hunter2@h/{trace_id}")

    assert "hunter2" not in str(caught.value)


def test_what_is_given_goes_before_the_environment_and_empty_is_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COTERIE_TRACE_URL", "http://env/{run_id}")

    assert trace_url_of("http://own/{run_id}") == TraceUrl("http://own/{run_id}")
    assert trace_url_of("") == trace_url_of(None) == TraceUrl("http://env/{run_id}")
    monkeypatch.setenv("COTERIE_TRACE_URL", "")
    assert trace_url_of() is None


def test_the_trace_is_that_of_the_context_that_began_the_run():
    begun_in = f"00-{TRACE}-b7ad6b7169203331-01"

    assert run_trace_id_text("n", "r", begun_in) == TRACE
    assert run_trace_id_text("n", "r", None) == run_trace_id_text("n", "r", "nonsense") != TRACE
    assert len(run_trace_id_text("n", "r", None)) == 32
