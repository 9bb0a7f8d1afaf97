"""The HTML page: whole without anything beside it, true to the report, and deaf to what the reviewed code says."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.teams.code_review.report import Report, digest, to_html
from coterie.teams.code_review.report.findings import MOST_ROWS
from coterie.teams.code_review.report.treemap import Box, squarify
from tests.support.report_inputs import HOSTILE, finding, foreach, item, output, record, report, snapshot

# May not be closed by an end tag of their own.
VOID = {"meta", "input", "wbr", "rect", "line", "circle"}
LOADING = {"src", "srcset", "action", "formaction", "background", "poster", "data", "style"}


class Page(HTMLParser):
    """A page's elements, attributes and texts, as a browser's parser would tell them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]


def hostile() -> Report:
    path = HOSTILE.replace("/", "-")
    return report(
        snapshot(path, "b.py", name=HOSTILE, revision=HOSTILE, skipped=[{"path": path, "reason": HOSTILE}]),
        record(
            "lint", output(finding(agent=HOSTILE, rule=HOSTILE, tool=HOSTILE, message=HOSTILE, path=path), tool=HOSTILE)
        ),
        record(HOSTILE, state="failed", reason=HOSTILE),
        foreach("security", item(HOSTILE, state="failed", reason=HOSTILE)),
    )


def harmless() -> Report:
    return report(
        snapshot("x", "b.py", name="n/n", revision="r", skipped=[{"path": "x", "reason": "r"}]),
        record("lint", output(finding(agent="h", rule="r", tool="t", message="m", path="x"), tool="t")),
        record("h", state="failed", reason="r"),
        foreach("security", item("i", state="failed", reason="r")),
    )


def test_hostile_text_adds_no_element_and_no_attribute():
    attacked, quiet = Page(to_html(hostile())), Page(to_html(harmless()))

    # A path's slashes and a truncated label may differ in what they break; nothing else may.
    for page in (attacked, quiet):
        page.tags.pop("wbr", None)
    assert attacked.tags == quiet.tags
    assert {name for _, name, _ in attacked.attributes} == {name for _, name, _ in quiet.attributes}


@given(text=st.text(min_size=1, max_size=60))
def test_any_message_is_text_in_the_page(text: str):
    page = Page(to_html(report(record("lint", output(finding(message=text, rule="F401"))))))

    assert page.tags["script"] == 1
    assert page.tags["tr"] == Page(to_html(report(record("lint", output(finding()))))).tags["tr"]


def test_control_and_reordering_characters_are_written_out():
    html = to_html(report(record("lint", output(finding(message="safe\u202eevil\x00")))))

    assert "\u202e" not in html
    assert "\x00" not in html
    assert "safe\\u202eevil\\u0000" in html


def test_the_page_loads_nothing():
    page = Page(to_html(hostile()))

    assert not LOADING & {name for _, name, _ in page.attributes}
    assert not {"link", "iframe", "object", "embed", "img", "base", "video", "audio"} & set(page.tags)
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    style = "".join(page.texts["style"])
    assert "url(" not in style
    assert "@import" not in style


def test_links_lead_to_places_in_the_page_or_to_plain_addresses():
    addresses = Page(to_html(hostile())).values("href")

    assert addresses
    assert all(re.match(r"#|https?://", address) for address in addresses)


def test_the_policy_allows_exactly_the_style_and_script_that_are_there():
    html = to_html(report())
    page = Page(html)
    policy = page.values("content")[0]

    for tag in ("style", "script"):
        text = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert text is not None
        mark = base64.b64encode(hashlib.sha256(text[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{mark}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_same_report_gives_the_same_page():
    assert to_html(hostile()) == to_html(hostile())


def test_each_finding_is_a_row_with_its_place_rule_and_agent():
    page = Page(to_html(report(record("lint", output(finding(), finding(line=8, severity="error"))))))

    assert page.values("data-severity") == ["error", "warning"]
    assert page.values("data-agent") == ["linter", "linter"]
    assert "https://docs.example/F401" in page.values("href")
    assert ":8:1" in page.texts["span"]


def test_a_partial_report_says_so_before_any_number():
    html = to_html(report(record("lint", output(finding())), record("docs", state="failed", reason="it broke")))

    assert html.index("This review is partial") < html.index("At a glance")
    assert "it broke" in html


def test_a_complete_report_says_nothing_of_missing_parts():
    html = to_html(report(record("lint", output(finding()))))

    assert "partial</h2>" not in html
    assert "Complete" in html


def test_ten_thousand_findings_are_cut_with_a_clear_statement():
    many = [finding(line=number, severity="note") for number in range(1, 10_001)]

    html = to_html(report(record("lint", output(*many))))

    assert len(Page(html).values("data-severity")) == MOST_ROWS
    assert "2\u202f000 of 10\u202f000 findings" in html
    assert "JSON report" in html
    assert len(html) < 2_000_000


def test_nothing_but_failures_still_makes_a_page():
    html = to_html(report(record("snapshot", state="failed"), record("lint", state="upstream_failed")))

    assert "unknown source" in html
    assert "upstream failed" in html


def test_no_findings_is_said_in_words():
    assert "No agent that ran found anything." in to_html(report(record("lint", output())))


def test_metrics_become_charts_with_a_text_for_those_who_do_not_see_them():
    metrics = {"complexity_max": 12, "maintainability": 5.0, "code_lines": 80, "comment_lines": 3}
    page = Page(
        to_html(
            report(
                foreach("measure", item("a.py", output(metrics=metrics)), item("b.py", output(metrics=metrics))),
                record("docs", output(metrics={"public": 4, "documented": 3})),
                record("tests", output(metrics={"test_lines": 50, "source_lines": 100, "tests": 7})),
            )
        )
    )

    labels = page.values("aria-label")
    assert any("C: 2" in label for label in labels)
    assert any("0 to 9: 2" in label for label in labels)
    assert "Docstring coverage: 75%" in labels
    assert "0.50" in page.texts["p"]


@pytest.mark.parametrize(
    "metrics", [{"public": "many"}, {"public": -1, "documented": 5}, {"documented": 9, "public": 3}]
)
def test_metrics_of_another_kind_give_no_chart(metrics: dict[str, object]):
    assert "Docstring coverage" not in to_html(report(record("docs", output(metrics=metrics))))


def test_the_page_has_one_main_heading_and_every_table_a_caption():
    page = Page(to_html(hostile()))

    assert page.tags["h1"] == 1
    assert page.tags["caption"] == page.tags["table"] == 3
    assert page.values("lang") == ["en"]


def test_every_reference_within_the_page_has_its_target():
    page = Page(to_html(harmless()))
    ids = page.values("id")

    assert len(ids) == len(set(ids))
    assert set(page.values("aria-labelledby")) <= set(ids)
    assert {address[1:] for address in page.values("href") if address.startswith("#")} <= set(ids)


def test_the_digest_of_the_json_report_is_on_the_page():
    built = report(record("lint", output(finding())))

    assert digest(built) in to_html(built)


@given(sizes=st.lists(st.integers(1, 10**7), min_size=1, max_size=60))
def test_the_map_gives_each_file_its_share_of_the_area(sizes: list[int]):
    sizes.sort(reverse=True)

    boxes = squarify(sizes, Box(0, 0, 1000, 400))

    assert len(boxes) == len(sizes)
    for size, box in zip(sizes, boxes, strict=True):
        assert box.width * box.height == pytest.approx(400_000 * size / sum(sizes), rel=1e-6)
        assert -1e-6 <= box.x <= box.x + box.width <= 1000 + 1e-6
        assert -1e-6 <= box.y <= box.y + box.height <= 400 + 1e-6
