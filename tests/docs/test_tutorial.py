"""The tutorial's pages are of one piece: what two of them tell to save under one name is the same."""

from __future__ import annotations

from tests.docs.markdown import pages

PARTS = ("docs/tutorial/survive-a-crash.md", "docs/tutorial/onto-schedulers.md")


def test_the_later_pages_begin_with_the_same_file():
    saved = {
        page.name: next(block.text for block in page.blocks() if block.file_name == "mail.py")
        for page in pages()
        if page.name in PARTS
    }

    assert set(saved) == set(PARTS)
    assert len(set(saved.values())) == 1
