"""Prompts: fields of the input become text, and nothing else happens to them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coterie.agents.prompt import Prompt
from coterie.errors import Misuse, PolicyError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_fields_are_put_in_as_text_or_as_json():
    prompt = Prompt('Review ${path} at ${at.line}, $level: ${rules}; cost $$5; answer {"ok": true}')

    text = prompt.fill({"path": "a b", "at": {"line": 3}, "level": None, "rules": ["ü", {"x": 1}]})

    assert text == 'Review a b at 3, null: ["ü", {"x": 1}]; cost $5; answer {"ok": true}'


def test_without_a_text_the_prompt_is_the_whole_input():
    assert json.loads(Prompt().fill({"a": ["ü", 1]})) == {"a": ["ü", 1]}


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(), JSON))
def test_any_input_makes_a_prompt(task_input):
    assert json.loads(Prompt().fill(task_input)) == task_input


@settings(deadline=None)
@given(st.text())
def test_what_is_put_in_is_never_looked_at_again(value: str):
    for text in (value, f"${{secret}} {value} $$ {{}}"):
        assert Prompt("<${a}>").fill({"a": text, "secret": "no"}) == f"<{text}>"


@pytest.mark.parametrize("path", ["b", "a.b", "a.__class__", "s.upper", "l.0"])
def test_a_field_that_is_not_there_is_named(path: str):
    with pytest.raises(Misuse, match=rf"asks for '{path}', which the task's input does not have; its fields: a, l, s"):
        Prompt(f"${{{path}}}").fill({"a": {}, "s": "text", "l": [1]})


@pytest.mark.parametrize("text", ["5 $", "${", "${a b}", "${a.}", "${a[0]}", "${a!r}", "${a:>9}", "${}", "$(rm)", 5])
def test_a_dollar_sign_that_names_no_field_is_refused(text: str):
    with pytest.raises(PolicyError, match=r"names no field; write \${field}, or \$\$"):
        Prompt(text)


def test_a_prompt_with_one_field_of_another_input_is_refused_by_name():
    with pytest.raises(Misuse, match="its fields: none"):
        Prompt("$x").fill({})
