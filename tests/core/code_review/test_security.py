"""The security agent, with the real bandit."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from coterie.teams.code_review.security import search_file


def rules(path: str, text: str) -> list[tuple[str, int, str]]:
    return [(each["rule"], each["line"], each["severity"]) for each in search_file(path, text.encode())["findings"]]


def test_dangerous_calls_are_found():
    text = "import subprocess\nsubprocess.run('ls ' + name, shell=True)\neval(name)\n"

    assert rules("a.py", text) == [("B602", 2, "error"), ("B307", 3, "warning")]


def test_an_import_alone_is_no_finding():
    assert rules("a.py", "import pickle\nimport subprocess\nimport xml.etree.ElementTree\n") == []


def test_tests_may_assert_and_know_passwords():
    text = "password = 'secret'\nassert password\n"

    assert rules("tests/test_a.py", text) == []
    assert [rule for rule, _, _ in rules("a.py", text)] == ["B105", "B101"]


def test_a_password_that_was_found_is_not_repeated():
    answer = search_file("a.py", b"password = 'hunter2secret'\n")

    assert answer["findings"]
    assert "hunter2secret" not in str(answer)


def test_nosec_comments_count():
    assert rules("a.py", "eval(name)  # nosec B307\n") == []


def test_a_file_that_does_not_parse_is_a_problem_with_its_reason():
    answer = search_file("a.py", b"x = 1\ndef f(:\n")

    assert answer["findings"] == []
    assert answer["problems"][0]["path"] == "a.py"
    assert "does not parse" in answer["problems"][0]["reason"]
    assert "(line 2)" in answer["problems"][0]["reason"]


@pytest.mark.parametrize("data", [b"\xff\xfe", b"x = '\0'", b"x = " + b"(" * 5000 + b")" * 5000])
def test_a_file_that_no_parser_takes_is_a_problem(data: bytes):
    assert len(search_file("a.py", data)["problems"]) == 1


def test_a_deep_expression_is_a_problem_not_an_error():
    answer = search_file("a.py", ("x = " + "1 + " * 3000 + "1\n").encode())

    assert len(answer["problems"]) <= 1
    assert answer["tool"]["name"] == "bandit"


def test_bandit_says_nothing_by_itself(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]):
    with caplog.at_level(logging.INFO):
        search_file("a.py", b"def f(:\n")
        search_file("a.py", b"x = 1  # nosec nonsense\n")

    assert caplog.text == ""
    assert capsys.readouterr() == ("", "")


def test_several_files_at_once_give_each_its_own_findings():
    texts = [f"eval(a)\n{'x = 1' if number % 2 else 'exec(a)'}\n" for number in range(20)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: rules("a.py", text), texts))

    assert [len(each) for each in found] == [2, 1] * 10
