"""The page of ten thousand spans is readable on screens and phones, light and dark; how soon it answers is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coterie.timeline.page import page_of
from tests.core.timeline.synthetic import synthetic_document
from tests.support.chromium import Tab, chromium

pytestmark = pytest.mark.system

SPANS = 10_000
SIZES = {"screen": (1400, 900), "phone": (390, 844)}
# As of WCAG 2.1, level AA, for words of ordinary size.
LEAST_CONTRAST = 4.5
# For each element with words of its own that is in the window: its words, and how far they stand out from what is
# behind them. Colours are drawn, so that those of every notation come out as the screen has them.
CONTRASTS = """(() => {
  const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => {
    paint.clearRect(0, 0, 1, 1); paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = paint.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((n) => top[n] * top[3] + under[n] * (1 - top[3])).concat(1);
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.unshift(rgba(getComputedStyle(at).backgroundColor));
    return layers.reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((one) => one / 255)
      .map((one) => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const element of document.body.querySelectorAll('*')) {
    const own = [...element.childNodes].filter((node) => node.nodeType === 3);
    const words = own.map((node) => node.data.trim()).join('');
    const box = element.getBoundingClientRect();
    const style = getComputedStyle(element);
    const seen = box.width > 2 && box.bottom > 0 && box.top < innerHeight && style.visibility === 'visible';
    if (!words || !seen || !element.checkVisibility() || element.matches(':disabled, :disabled *')) continue;
    const under = behind(element), ink = over(rgba(style.color), under);
    const [low, high] = [light(under), light(ink)].sort((a, b) => a - b);
    found.push([words.slice(0, 60), Math.round((high + 0.05) / (low + 0.05) * 100) / 100]);
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page_of(synthetic_document(2, SPANS)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with chromium() as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_word_stands_out_and_nothing_is_wider_than_the_window(tab: Tab, page: Path, size: str, scheme: str):
    width, height = SIZES[size]
    tab.complaints.clear()
    tab.open(page, width=width, height=height, dark=scheme == "dark")
    words = contrasts(tab)
    tab.screenshot(page.with_name(f"top-{size}-{scheme}.png"))
    show_facts(tab)
    words += contrasts(tab)
    tab.screenshot(page.with_name(f"rows-{size}-{scheme}.png"))

    assert len(words) > 60
    assert [(text, contrast) for text, contrast in words if contrast < LEAST_CONTRAST] == []
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.complaints == []


def contrasts(tab: Tab) -> list[tuple[str, float]]:
    """The words that are in the window, and how far they stand out."""
    return [(text, contrast) for text, contrast in tab.run(CONTRASTS)]


def show_facts(tab: Tab) -> None:
    """Of a failed task, beside the rows."""
    tab.run("document.getElementById('timeline').scrollIntoView()")
    tab.run("document.querySelector('.story .bad button').click()")
    tab.settle()
    assert tab.run("document.getElementById('panel').hidden") is False


@pytest.mark.parametrize("size", SIZES)
def test_what_a_search_finds_is_in_the_window_with_the_words_that_found_it(tab: Tab, page: Path, size: str):
    width, height = SIZES[size]
    tab.open(page, width=width, height=height)
    assert inside(tab, "#rows .row:not([hidden])") < 5

    tab.press("/")
    tab.write("task:t3-0")

    assert inside(tab, "#search") == 1
    assert inside(tab, "#rows .row:not([hidden])") > 5


def inside(tab: Tab, selector: str) -> int:
    """How many of these elements are in the window."""
    seen = "(({top, bottom}) => top >= 0 && bottom <= innerHeight)(element.getBoundingClientRect())"
    return int(tab.run(f"[...document.querySelectorAll({selector!r})].filter((element) => {seen}).length"))


def test_how_soon_it_answers_is_told(tab: Tab, page: Path, record_property: Any, capsys: pytest.CaptureFixture[str]):
    tab.open(page)
    timing = tab.run("performance.getEntriesByType('navigation')[0].toJSON()")
    began_ms = tab.run("performance.now()")
    tab.press("/")
    tab.write("kind:call state:failed")
    found_ms = tab.run("performance.now()") - began_ms

    told = {"open_ms": round(timing["loadEventEnd"]), "search_ms": round(found_ms)}
    for name, value in told.items():
        record_property(name, value)
    with capsys.disabled():
        sys.stdout.write(f"\n{SPANS} spans answer after {told['open_ms']} ms; a search takes {told['search_ms']} ms\n")
    assert tab.run("document.activeElement.id") == "search"
    assert told["open_ms"] > 0


def test_words_that_do_not_stand_out_are_found(tab: Tab, tmp_path: Path):
    faint = tmp_path / "faint.html"
    faint.write_text("<body style='background:#fff'><p style='color:#aaa'>faint</p><p style='color:#000'>clear</p>")

    tab.open(faint)

    assert contrasts(tab) == [("faint", 2.32), ("clear", 21)]
