"""The page of a timeline in a real browser: ten thousand spans open, are searched, folded, zoomed, and stay text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coterie.timeline import document_of
from coterie.timeline.page import page_of
from coterie.timeline.words import TIME_WORDS
from tests.core.timeline.browsing import box_of, click, rows, search, spans, text, with_ancestors
from tests.core.timeline.synthetic import synthetic_document, synthetic_timeline
from tests.core.timeline.test_page import hostile_document
from tests.support.chromium import Tab, chromium

pytestmark = pytest.mark.system

SPANS = 10_000
SMALL = synthetic_document(1, 40)
ACTIVE = "document.getElementById(document.getElementById('rows').getAttribute('aria-activedescendant'))"


@pytest.fixture(scope="module")
def large() -> dict[str, Any]:
    return synthetic_document(2, SPANS)


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def open_page(tab: Tab, tmp_path: Path) -> Iterator[Any]:
    """Shows the page of a document; afterwards, the browser must have had nothing to complain of."""

    def show(document: dict[str, Any], **how: Any) -> Tab:
        tab.complaints.clear()
        tab.requests.clear()
        path = tmp_path / "page.html"
        path.write_text(page_of(document), encoding="utf-8")
        tab.open(path, **how)
        return tab

    yield show
    assert tab.complaints == []
    assert [url for url in tab.requests if not url.startswith("file:")] == []


def test_ten_thousand_spans_open_folded_to_tasks_with_few_elements(
    open_page: Any, large: dict[str, Any], tmp_path: Path
):
    tab = open_page(large)

    assert rows(tab) == 1 + len([span for span in large["spans"] if span["parent"] == "run"])
    assert tab.run("document.querySelectorAll('*').length") < 4000
    assert tab.screenshot(tmp_path / "large.png").stat().st_size > 20_000


def test_rows_far_down_are_there_when_one_gets_there(open_page: Any, large: dict[str, Any]):
    tab = open_page(large)
    click(tab, "fold-none")
    assert rows(tab) == len(large["spans"])

    tab.run("scrollTo(0, document.body.scrollHeight)")
    tab.settle()

    shown = tab.run("Math.max(...[...document.querySelectorAll('.row:not([hidden])')].map((r) => +r.ariaRowIndex))")
    assert shown == len(large["spans"])
    assert tab.run("document.querySelectorAll('.row').length") < 200


def test_a_small_run_opens_unfolded(open_page: Any):
    assert rows(open_page(SMALL)) == len(SMALL["spans"])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_follows_the_scheme_that_a_person_prefers(open_page: Any, *, dark: bool):
    tab = open_page(SMALL, dark=dark)

    red, green, blue = tab.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (red + green + blue < 200) is dark


def test_a_search_finds_what_failed_and_shows_where_it_is(open_page: Any, large: dict[str, Any]):
    tab = open_page(large)
    failed = spans(large, kind="call", state="failed")
    assert failed

    tab.press("/")
    tab.write("kind:call state:failed")

    assert rows(tab) == len(with_ancestors(large, failed))
    assert text(tab, "#found").startswith(f"{len(failed):,}".replace(",", "\u202f") + " of")


def test_enter_goes_from_match_to_match(open_page: Any):
    tab = open_page(SMALL)
    calls = spans(SMALL, kind="call")
    search(tab, "kind:call")

    seen = []
    for _ in calls:
        tab.press("Enter")
        seen.append(tab.run("decodeURIComponent(location.hash.slice(6))"))

    assert sorted(seen) == sorted(span["id"] for span in calls)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("task:t0-0", lambda span: span["id"].startswith(("task/t0-0", "item/t0-0"))),
        ("-kind:call", lambda span: span["kind"] != "call"),
        ("over:5s", lambda span: (span["ended_us"] or SMALL["run"]["now_us"]) - span["begun_us"] >= 5_000_000),
    ],
    ids=["task", "not", "over"],
)
def test_a_search_by_field(open_page: Any, line: str, wanted: Any):
    tab = open_page(SMALL)

    search(tab, line)

    found = [span for span in SMALL["spans"] if wanted(span)]
    assert 0 < len(found) < len(SMALL["spans"])
    assert text(tab, "#found").startswith(f"{len(found)} of")


def test_who_looks_for_what_failed_does_not_find_where_nothing_did(open_page: Any, large: dict[str, Any]):
    whole = [span for span in large["spans"] if span.get("facts", {}).get("failed_items") == 0]
    assert whole
    tab = open_page(large)

    search(tab, "failed")

    said = [span for span in large["spans"] if "failed" in json.dumps(_told(span))]
    assert not {span["id"] for span in whole} & {span["id"] for span in said}
    assert text(tab, "#found").startswith(f"{len(said):,}".replace(",", "\u202f") + " of")


def _told(span: dict[str, Any]) -> list[Any]:
    return [span["id"], span["name"], span["state"], {n: v for n, v in span.get("facts", {}).items() if v != 0}]


def test_a_search_that_finds_nothing_offers_the_way_back(open_page: Any):
    tab = open_page(SMALL)
    search(tab, "nothing is called like this")
    assert rows(tab) == 0

    click(tab, "clear")

    assert rows(tab) == len(SMALL["spans"])


def test_rows_fold_and_unfold(open_page: Any, large: dict[str, Any]):
    tab = open_page(large)
    folded = rows(tab)

    click(tab, "fold-none")
    assert rows(tab) == len(large["spans"])

    click(tab, "fold-tasks")
    assert rows(tab) == folded


def test_the_arrows_fold_the_selected_row(open_page: Any):
    tab = open_page(SMALL)
    tab.run("document.getElementById('rows').focus()")
    tab.press("ArrowDown")
    assert tab.run(f"{ACTIVE}.ariaLevel") == "1"

    tab.press("ArrowLeft")
    assert rows(tab) == 1

    tab.press("ArrowRight")
    assert rows(tab) == len(SMALL["spans"])


def test_a_hidden_kind_has_no_rows(open_page: Any):
    tab = open_page(SMALL)

    tab.run("document.querySelector('#kind-list input[value=call]').click()")
    tab.settle()

    assert rows(tab) == len(SMALL["spans"]) - len(spans(SMALL, kind="call"))


def test_rows_by_kind_have_a_row_for_each_kind_first(open_page: Any):
    tab = open_page(SMALL)

    tab.run("document.getElementById('grouping').value = 'kind'")
    tab.run("document.getElementById('grouping').dispatchEvent(new Event('change'))")
    tab.settle()

    assert rows(tab) == len({span["kind"] for span in SMALL["spans"]})


def test_the_critical_path_alone(open_page: Any, large: dict[str, Any]):
    tab = open_page(large)
    click(tab, "fold-none")

    tab.run("document.getElementById('rows').focus()")
    tab.press("c")

    assert rows(tab) == len(large["critical"])
    assert tab.run("document.getElementById('critical').ariaPressed") == "true"


def test_the_wheel_on_the_ruler_and_the_keys_zoom(open_page: Any):
    tab = open_page(SMALL)
    whole = text(tab, "#span-told")
    tab.run("document.getElementById('timeline').scrollIntoView()")
    x, y, width = box_of(tab, "axis")

    tab.wheel(int(x + width / 2), int(y) + 5, -100)
    assert text(tab, "#span-told") != whole

    tab.press("0")
    assert text(tab, "#span-told") == whole


def test_a_drag_over_the_overview_zooms_to_that_time(open_page: Any):
    tab = open_page(SMALL)
    tab.run("document.getElementById('timeline').scrollIntoView()")
    x, y, width = box_of(tab, "overview")

    tab.drag((int(x + width / 4), int(y) + 20), (int(x + width / 2), int(y) + 20))

    assert "from +" in text(tab, "#span-told")
    assert 20 < float(tab.run("document.querySelector('.frame').style.width.replace('%', '')")) < 30


def test_the_arrows_move_the_window_of_time(open_page: Any):
    tab = open_page(SMALL)
    tab.run("document.getElementById('overview').focus()")
    tab.press("ArrowUp")
    tab.press("Home")
    before = text(tab, "#span-told")
    assert before.endswith("from +0\u202fs")

    tab.press("ArrowRight")

    assert text(tab, "#span-told").partition(" from ")[0] == before.partition(" from ")[0]
    assert text(tab, "#span-told") != before


def test_a_click_on_the_overview_shows_what_the_end_waited_for_then(open_page: Any):
    tab = open_page(SMALL)
    tab.run("document.getElementById('timeline').scrollIntoView()")
    x, y, width = box_of(tab, "overview")
    run = SMALL["run"]
    middle = (run["begun_us"] + run["ended_us"]) / 2

    tab.drag((int(x + width / 2), int(y) + 50), (int(x + width / 2), int(y) + 50))

    (waited,) = [part["span"] for part in SMALL["path"] if part["begun_us"] <= middle < part["ended_us"]]
    assert text(tab, "#panel .id") == waited


def test_a_reader_is_told_what_a_row_is(open_page: Any):
    tab = open_page(SMALL)

    told = tab.names_of("row")

    run = SMALL["spans"][0]
    assert told[0].startswith(f"{run['state']} {run['name']} run ")
    assert told[0].endswith("begins at 0\u202fs, on the critical path")


def test_the_first_failure_is_one_click_from_its_facts(open_page: Any, large: dict[str, Any]):
    tab = open_page(large)
    failure = large["first_failure"]

    tab.run("document.querySelector('.story .bad button').click()")
    tab.settle()

    assert failure["type"] in text(tab, "#panel .error")
    assert text(tab, "#panel .id") == failure["span"]
    assert tab.run(f"{ACTIVE}.ariaSelected") == "true"


def test_a_failure_that_a_search_and_a_fold_hide_is_shown_all_the_same(open_page: Any, large: dict[str, Any]):
    tab = open_page(large)
    search(tab, "kind:run")

    tab.run("document.querySelector('.story .bad button').click()")
    tab.settle()

    assert text(tab, "#panel .id") == large["first_failure"]["span"]
    assert tab.run(f"{ACTIVE}.ariaSelected") == "true"


def test_enter_shows_facts_and_escape_puts_them_away(open_page: Any):
    tab = open_page(SMALL)
    tab.run("document.getElementById('rows').focus()")
    tab.press("ArrowDown")
    tab.press("ArrowDown")
    assert tab.run("document.getElementById('panel').hidden") is True

    tab.press("Enter")
    assert text(tab, "#panel .id") == SMALL["spans"][1]["id"]

    tab.press("Escape")
    assert tab.run("document.getElementById('panel').hidden") is True
    assert tab.run("document.activeElement.id") == "rows"


def test_an_address_leads_to_a_span_that_is_folded_away(open_page: Any, large: dict[str, Any]):
    call = spans(large, kind="call")[-1]

    tab = open_page(large, anchor=f"#span={call['id'].replace('/', '%2F')}")

    assert text(tab, "#panel .id") == call["id"]


def test_the_summary_tells_what_has_not_ended_and_what_holds_it(open_page: Any):
    timeline = synthetic_timeline(4, 100, is_over=False)
    tab = open_page(document_of(replace(timeline, held={"task/last": "breaker search open for 9 s more"})))

    story = text(tab, ".story")
    assert "It has gone on for" in story
    assert "Not ended, so waiting or at work: last for" in story
    assert "(held: breaker search open for 9 s more)" in story
    assert "at work now" not in story.lower()
    assert tab.run("document.querySelectorAll('.bar.open').length") > 0


def test_bars_tell_where_time_and_money_went(open_page: Any, large: dict[str, Any]):
    tab = open_page(large)

    heads = tab.run("[...document.querySelectorAll('.card h2')].map((head) => head.textContent)")
    listed = tab.run("document.querySelector('.card .bars').textContent")

    assert heads[0] == "What the end waited for"
    assert "Money and tokens" in heads
    assert all(TIME_WORDS[time] in listed for time, seconds in large["where"].items() if seconds > 0)
    legend = text(tab, "#legend")
    assert all(TIME_WORDS[time] in legend for time in large["where"])


def test_paper_has_the_first_rows_and_the_screen_its_own_again(open_page: Any, large: dict[str, Any], tmp_path: Path):
    tab = open_page(large)
    click(tab, "fold-none")

    assert tab.pdf(tmp_path / "large.pdf").read_bytes().startswith(b"%PDF")
    tab.run("dispatchEvent(new Event('beforeprint'))")
    tab.resize(700, 1000)
    tab.settle()
    assert tab.run("document.querySelectorAll('.row').length") == 400
    tab.run("dispatchEvent(new Event('afterprint'))")

    assert tab.run("document.querySelectorAll('.row').length") < 200


def test_hostile_texts_stay_text(open_page: Any):
    document = hostile_document()

    tab = open_page(document)
    tab.run("document.getElementById('rows').focus()")
    for _ in range(12):
        tab.press("ArrowDown")
        tab.press("Enter")
    tab.press("?")

    assert tab.run("document.querySelectorAll('script').length") == 2
    assert tab.run("document.querySelectorAll('img, iframe, object, embed, link, base, form, a[href]').length") == 1
    assert tab.run(
        "[...document.querySelectorAll('*')].every((e) => [...e.attributes].every((a) => !/^on/.test(a.name)))"
    )
    labels = tab.run("[...document.querySelectorAll('.label')].map((label) => label.textContent)")
    assert "</script><script>alert(1)</script>" in labels
    # Signs that would turn the text around them are told by their numbers.
    assert "\\u001b[31m" in "".join(labels)
