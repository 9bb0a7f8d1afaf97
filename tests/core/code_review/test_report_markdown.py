"""The Markdown report: bounded, and nothing but text where text was given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from coterie.teams.code_review.report import digest, to_markdown
from coterie.teams.code_review.report.markdown import code, text
from tests.support.report_inputs import HOSTILE, finding, foreach, item, output, record, report, snapshot

GFM = MarkdownIt("commonmark", {"linkify": False}).enable(["table", "strikethrough"])


def tokens(markdown: str) -> list[Token]:
    flat: list[Token] = []
    for token in GFM.parse(markdown):
        flat += [token, *(token.children or [])]
    return flat


def plain(markdown: str) -> str:
    return "".join(token.content for token in tokens(markdown) if token.type in {"text", "code_inline", "text_special"})


@given(raw=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=40))
def test_text_reads_as_it_was_given(raw: str):
    kinds = {token.type for token in tokens(f"| a |\n| --- |\n| x {text(raw)} x |")}

    assert kinds <= {
        *("table_open", "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close"),
        *("tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close", "inline", "text", "text_special"),
    }
    assert plain(f"x {text(raw)} x").replace("\u2060", "") == f"x {raw} x"


@given(raw=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=40))
def test_code_is_one_code_span(raw: str):
    spans = [token.content for token in tokens(f"| a |\n| --- |\n| {code(raw)} |") if token.type == "code_inline"]

    assert [span.replace("\\|", "|") for span in spans] == [raw.replace("\\|", "|")]


def test_hostile_text_makes_no_markup_anywhere():
    path = HOSTILE.replace("/", "-")
    built = report(
        snapshot(path, name=HOSTILE, revision=HOSTILE, skipped=[{"path": path, "reason": HOSTILE}]),
        record(
            "lint", output(finding(agent=HOSTILE, rule=HOSTILE, tool=HOSTILE, message=HOSTILE, path=path), tool=HOSTILE)
        ),
        foreach("security", item(HOSTILE, state="failed", reason=HOSTILE)),
    )

    kinds = {token.type for token in tokens(to_markdown(built))}

    assert not {"html_inline", "html_block", "link_open", "image", "em_open", "s_open", "fence", "code_block"} & kinds


@pytest.mark.parametrize("raw", ["@everyone", "https://evil.example/x", "www.evil.example", "WWW.evil.example"])
def test_nothing_mentions_or_links_by_itself(raw: str):
    assert raw not in text(raw)


def test_a_partial_report_names_what_is_missing():
    markdown = to_markdown(report(record("lint", output(finding())), record("docs", state="failed", reason="it broke")))

    assert "This review is partial" in markdown
    assert "| `docs` |  | failed | it broke |" in markdown


def test_findings_are_bounded_and_the_rest_is_counted():
    many = [finding(line=number) for number in range(1, 2001)]

    markdown = to_markdown(report(record("lint", output(*many))))

    assert "1980 more are in the JSON, HTML and SARIF reports." in markdown
    assert len(markdown) < 20_000


def test_every_row_has_the_cells_of_its_head():
    built = report(
        snapshot("a|b.py"),
        record("lint", output(finding(path="a|b.py", message="x | y\nz", rule="A|B"), metrics={"a|b": 1})),
        record("docs", state="failed", reason="a | b"),
    )

    rows = [token for token in GFM.parse(to_markdown(built)) if token.type in {"tr_open", "td_open", "th_open"}]
    widths: list[int] = []
    for token in rows:
        if token.type == "tr_open":
            widths.append(0)
        else:
            widths[-1] += 1
    assert set(widths) <= {3, 4, 5}
    assert "x | y z" in plain(to_markdown(built))


def test_metrics_hotspots_and_digest_are_told():
    built = report(snapshot("a.py"), record("lint", output(finding(), metrics={"files": 12})))

    markdown = to_markdown(built)

    assert "| linter | `lint.files` | 12 |" in markdown
    assert "| `pkg/a.py` | 3 | 0 | 1 | 0 |" in markdown
    assert digest(built) in markdown


def test_nothing_but_failures_still_makes_a_page():
    assert "unknown source" in to_markdown(report(record("snapshot", state="failed")))
