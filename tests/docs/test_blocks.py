"""Every code block of every document is executed, or checked for what it claims."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.docs.console import check_install
from tests.docs.markdown import Page, pages
from tests.docs.reader import Reader


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in pages()])
def test_a_reader_who_follows_a_page_gets_what_it_shows(page: Page, tmp_path: Path):
    with Reader(tmp_path) as reader:
        problems = reader.follow(page)

    assert not problems, "\n\n".join(["", *problems])


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in pages()])
def test_what_a_sentence_tells_to_install_exists(page: Page):
    for command in re.findall(r"`(pip install [^`]+)`", page.prose()):
        check_install(shlex.split(command))


def test_a_reader_learns_how_to_install_from_a_clone():
    text = {page.name: page.text for page in pages()}

    for name in ("README.md", "docs/index.md", "docs/tutorial.md"):
        assert "pip install './core[cli" in text[name], name
        # The adapters' folders alone would look for coterie on a package index.
        assert "pip install './core[cli]' ./airflow_provider" in text[name], name
        assert "pip install './core[cli]' ./prefect_blocks" in text[name], name
        assert ".venvs/core-<python>/bin/coterie" in text[name], name
