"""Judging docstrings."""

from __future__ import annotations

from coterie.teams.code_review.documenter import judge_documentation


def missing(text: str, path: str = "a.py") -> list[str]:
    answer = judge_documentation({path: text.encode()}, True)
    return [f"{each['rule']}:{each['line']}" for each in answer["findings"]]


def test_public_definitions_without_docstrings_are_found_where_they_stand():
    text = "import os\n\nclass C:\n    def method(self): ...\n\nasync def f(): ...\n"

    assert missing(text) == [
        "undocumented-module:1",
        "undocumented-class:3",
        "undocumented-function:4",
        "undocumented-function:6",
    ]


def test_private_nested_and_special_ones_need_none():
    text = '"""M."""\ndef _f(): ...\nclass _C:\n    def m(self): ...\n'
    text += 'class D:\n    """D."""\n    def __init__(self): ...\n'

    assert missing(text + '    def n(self):\n        """N."""\n        def inner(): ...\n') == []


def test_overloads_setters_and_overrides_need_none():
    marks = ["@overload", "@typing.override", "@value.setter", "@f.register"]

    assert missing('"""M."""\n' + "".join(f"{mark}\ndef f{n}(): ...\n" for n, mark in enumerate(marks))) == []


def test_all_decides_what_is_public_where_it_is_spelled_out():
    text = '"""M."""\n__all__ = ["_shown"]\ndef _shown(): ...\ndef hidden(): ...\n'

    assert missing(text) == ["undocumented-function:3"]


def test_tests_private_modules_and_empty_ones_need_none():
    assert missing("def f(): ...\n", "tests/test_a.py") == []
    assert missing("def f(): ...\n", "pkg/_private/a.py") == []
    assert missing("", "pkg/__init__.py") == []
    assert missing("from pkg.a import f\n", "pkg/__init__.py") == []


def test_a_large_function_without_a_docstring_weighs_more():
    answer = judge_documentation({"a.py": ('"""M."""\ndef f():\n' + "    x = 1\n" * 20).encode()}, True)

    assert [each["severity"] for each in answer["findings"]] == ["warning"]


def test_coverage_is_the_share_of_public_definitions():
    answer = judge_documentation({"a.py": b'"""M."""\ndef f(): ...\ndef g(): ...\n'}, True)

    assert answer["metrics"] == {"public": 3, "documented": 1, "coverage": 0.3333, "readme": True}


def test_a_missing_readme_is_a_finding_of_the_tree():
    answer = judge_documentation({}, False)

    assert [(each["rule"], each["path"]) for each in answer["findings"]] == [("missing-readme", None)]
    assert answer["metrics"]["coverage"] == 1.0


def test_a_module_that_does_not_parse_is_a_problem():
    answer = judge_documentation({"a.py": b"def f(:\n", "b.py": b"def f(): ...\n"}, True)

    assert [each["path"] for each in answer["problems"]] == ["a.py"]
    assert len(answer["findings"]) == 2
