"""The page of a timeline without a browser: no text becomes markup, and the policy lets in the page's own parts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import pytest

from coterie.cli.trace.notes import _SAID
from coterie.cli.trace.words import TIME_WORDS
from coterie.errors import Misuse
from coterie.timeline.page import _SCRIPT_PARTS, page_of
from tests.core.timeline.synthetic import synthetic_document

HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "<!--<script>",
    "]]>&lt;b&gt;",
    "line\u2028separator\u2029\x00\x1b[31m",
    "lone \ud800 surrogate",
    "$policy ${script} $$",
]


class Parsed(HTMLParser):
    """The page's elements with their attributes, and the raw text of its scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: str | None = None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag
        if tag in {"script", "style", "title"}:
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = None

    def handle_data(self, data: str) -> None:
        if self._open in {"script", "style", "title"}:
            self.texts[-1] += data

    def parts(self) -> dict[str, str]:
        """`title`, `style`, `application/json`, `module` -> its text."""
        names = [given.get("type") or tag for tag, given in self.elements if tag in {"script", "style", "title"}]
        assert len(names) == len(set(names)), names
        return dict(zip(names, self.texts, strict=True))

    def policy(self) -> dict[str, str]:
        (content,) = (
            given["content"] or "" for _, given in self.elements if given.get("http-equiv") == "Content-Security-Policy"
        )
        return dict(directive.strip().partition(" ")[::2] for directive in content.split(";"))


def hostile_document() -> dict[str, Any]:
    """A document every text of which, fact names included, wants to be markup."""
    document = synthetic_document(3, 40)
    for number, span in enumerate(document["spans"]):
        text = HOSTILE[number % len(HOSTILE)]
        span["name"] = text
        span["facts"] = {text: text, "error_type": text, "error_message": text}
    document["run"]["id"] = "".join(HOSTILE)
    document["notes"] = HOSTILE
    return document


def scripts() -> Iterator[tuple[str, str]]:
    """Name and text of each part of the page's script."""
    for part in (resources.files("coterie.timeline") / "assets").iterdir():
        if part.name.endswith(".js"):
            yield part.name, part.read_text("utf-8")


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_page_holds_the_document_as_it_is():
    document = synthetic_document(1, 200)

    parts = Parsed(page_of(document)).parts()

    assert json.loads(parts["application/json"]) == json.loads(json.dumps(document))


def test_no_text_of_a_run_becomes_markup():
    tame, hostile = Parsed(page_of(synthetic_document(3, 40))), Parsed(page_of(hostile_document()))

    def differing(parsed: Parsed) -> list[tuple[str, dict[str, str | None]]]:
        return [(tag, given) for tag, given in parsed.elements if tag != "meta"]

    assert differing(hostile) == differing(tame)
    assert json.loads(hostile.parts()["application/json"]) == json.loads(json.dumps(hostile_document()))


def test_the_embedded_document_has_no_sign_that_markup_needs():
    embedded = Parsed(page_of(hostile_document())).parts()["application/json"]

    assert not set(embedded) & {"<", ">", "&", "\u2028", "\u2029"}
    assert embedded.isascii()


def test_the_title_names_the_run_and_is_escaped():
    document = synthetic_document(3, 10)
    document["run"]["id"] = '</title><script>x</script>"&'

    page = page_of(document)

    assert "<title>Timeline of &lt;/title&gt;&lt;script&gt;x&lt;/script&gt;&quot;&amp;</title>" in page


def test_a_very_long_name_does_not_fill_the_title():
    document = synthetic_document(3, 10)
    document["run"]["id"] = "x" * 10_000

    title = Parsed(page_of(document)).parts()["title"]

    assert len(title) < 300


def test_the_policy_allows_the_page_its_own_script_and_style_alone():
    parsed = Parsed(page_of(synthetic_document(1, 20)))
    parts, policy = parsed.parts(), parsed.policy()

    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == digest(parts["module"])
    assert policy["style-src"] == digest(parts["style"])
    assert (policy["base-uri"], policy["form-action"]) == ("'none'", "'none'")
    assert (policy["require-trusted-types-for"], policy["trusted-types"]) == ("'script'", "'none'")


def test_the_page_asks_nobody_for_anything():
    parsed = Parsed(page_of(synthetic_document(1, 20)))

    references = [
        value for _, given in parsed.elements for name, value in given.items() if name in {"src", "href", "action"}
    ]

    assert references == ["#rows"]
    assert re.search(r"url\(|@import", parsed.parts()["style"]) is None


def test_no_element_carries_a_handler_or_a_style_of_its_own():
    parsed = Parsed(page_of(synthetic_document(1, 20)))

    names = {name for _, given in parsed.elements for name in given}

    assert not {name for name in names if name.startswith("on")} | (names & {"style"})


@pytest.mark.parametrize(
    "forbidden",
    [
        *(
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            "DOMParser",
            "srcdoc",
        ),
        *("fetch(", "XMLHttpRequest", "WebSocket", "localStorage", "cookie", "http:", "https:", "</", "<!--"),
    ],
)
def test_the_script_neither_makes_markup_from_text_nor_reaches_out(forbidden: str):
    namespace = '"http://www.w3.org/2000/svg"'  # a name, which nobody fetches

    found = [name for name, text in scripts() if forbidden in text.replace(namespace, "")]

    assert found == []


def test_every_part_of_the_script_is_in_the_page():
    assert sorted(name for name, _ in scripts()) == sorted(_SCRIPT_PARTS)


def test_page_and_command_line_say_the_same_words():
    text = dict(scripts())["text.js"]

    assert [time for time, words in TIME_WORDS.items() if not re.search(rf'{time}: "{words}[":]', text)] == []


def test_the_same_document_gives_the_same_page():
    assert page_of(synthetic_document(5, 300)) == page_of(synthetic_document(5, 300))


def test_a_span_costs_no_more_than_its_json():
    few, many = synthetic_document(2, 100), synthetic_document(2, 5000)

    grown = len(page_of(many)) - len(page_of(few))
    json_grown = len(json.dumps(many, separators=(",", ":"))) - len(json.dumps(few, separators=(",", ":")))

    # Hostile names are a few percent longer, escaped.
    assert grown < 1.1 * json_grown
    assert len(page_of(few)) - len(json.dumps(few, separators=(",", ":"))) < 100_000


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"bytes"], ids=["nan", "set", "bytes"])
def test_what_is_not_json_is_refused(value: object):
    document = synthetic_document(1, 10) | {"notes": value}

    with pytest.raises(Misuse, match="not JSON"):
        page_of(document)


def test_page_and_command_line_tell_the_codes_of_laps_in_the_same_words():
    text = dict(scripts())["text.js"]

    told = dict(re.findall(r'"(\w+=\w+)": "([^"]+)"', text))

    assert told == {f"{name}={fact}": words for (name, fact), words in _SAID.items() if words and fact is not True}
