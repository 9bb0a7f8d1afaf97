"""What people are shown of others' words."""

from __future__ import annotations

import pytest

from coterie.markdown import beginning, fenced


@pytest.mark.parametrize("text", ["plain", "```\n# not a heading\n```", "a ````` b"])
def test_what_anybody_wrote_is_shown_word_for_word(text):
    first, *middle, last = fenced(text).split("\n")

    assert "\n".join(middle) == text
    assert first == f"{last}text"
    assert set(last) == {"`"}
    assert last not in text


def test_other_values_are_shown_as_json():
    assert fenced({"ünï": [1]}) == '```json\n{\n  "ünï": [\n    1\n  ]\n}\n```'


def test_of_a_long_text_the_beginning_is_shown():
    assert beginning("x" * 100, 60) == f"{'x' * 20}\n… (100 characters in all)"


@pytest.mark.parametrize("most_bytes", [0, 10, 50, 100, 1000])
def test_what_is_shown_has_room(most_bytes):
    shown = beginning("é" * 5000, most_bytes)

    assert len(shown.encode()) <= max(most_bytes, 40)
    assert shown.endswith("(5,000 characters in all)")


def test_nothing_acts_on_the_screen():
    assert beginning("a\x1b[31m\u202eb\ud800\tc\n", 100) == "a\ufffd[31m\ufffdb\ufffd\tc\n"
