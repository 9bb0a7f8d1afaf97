"""Measuring one module, with the real radon."""

from __future__ import annotations

import pytest

from coterie.teams.code_review.measure import LONG_FUNCTION_LINES, LONG_MODULE_LINES, measure_file
from coterie.teams.code_review.sizes import Sizes, count_lines


def branches(count: int) -> str:
    return "def f(x):\n" + "".join(f"    if x == {number}:\n        return {number}\n" for number in range(count))


def findings(text: str, path: str = "a.py") -> list[tuple[str, str]]:
    return [(each["rule"], each["severity"]) for each in measure_file(path, text.encode())["findings"]]


@pytest.mark.parametrize(("count", "severity"), [(10, "note"), (20, "warning"), (30, "error"), (40, "error")])
def test_complexity_weighs_by_radons_ranks(count: int, severity: str):
    assert ("complex-function", severity) in findings(branches(count))


def test_a_simple_function_is_no_finding():
    assert findings(branches(9)) == []


def test_methods_and_async_functions_are_judged():
    text = "class C:\n    async " + branches(20).replace("\n", "\n    ")

    answer = measure_file("a.py", text.rstrip().encode())

    assert "'C.f'" in answer["findings"][0]["message"]


def test_long_functions_and_modules_are_findings():
    text = "def f():\n" + "    x = 1\n" * LONG_FUNCTION_LINES + "y = 1\n" * LONG_MODULE_LINES

    assert {("long-function", "warning"), ("long-module", "warning")} <= set(findings(text))
    assert {("long-function", "note"), ("long-module", "note")} <= set(findings(text, "tests/test_a.py"))


def test_every_line_is_counted_once():
    text = '"""Doc\n\nstring."""\n\nimport os  # why\n# alone\nx = """a\nb"""\n'

    assert count_lines(text) == Sizes(lines=8, code=3, comments=2, strings=3, blank=1)


def test_an_empty_module_has_metrics_and_no_findings():
    answer = measure_file("__init__.py", b"")

    assert answer["findings"] == []
    assert answer["metrics"]["lines"] == 0
    assert answer["metrics"]["maintainability"] == 100.0


def test_a_long_table_is_measured_in_one_pass():
    # radon's own count would read it again for each of its 15,000 lines.
    text = "TABLE = [\n" + "    (1, 2, 3),\n" * 15_000 + "]\n"

    assert measure_file("a.py", text.encode())["metrics"]["code_lines"] == 15_002


@pytest.mark.parametrize("data", [b"\xff", b"def f(:", b"x = (", b"\0", b"x = " + b"-" * 20_000 + b"1"])
def test_what_cannot_be_measured_is_a_problem(data: bytes):
    answer = measure_file("a.py", data)

    assert [problem["path"] for problem in answer["problems"]] == ["a.py"]
    assert answer["findings"] == []


def test_windows_line_ends_and_byte_order_marks_change_nothing():
    text = branches(12)
    windows = b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()

    assert measure_file("a.py", windows) == measure_file("a.py", text.encode())
