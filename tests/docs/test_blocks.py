"""Every code block of every document is executed, or checked for what it claims."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import Page, pages
from tests.docs.reader import Reader


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in pages()])
def test_a_reader_who_follows_a_page_gets_what_it_shows(page: Page, tmp_path: Path):
    with Reader(tmp_path) as reader:
        problems = reader.follow(page)

    assert not problems, "\n\n".join(["", *problems])
