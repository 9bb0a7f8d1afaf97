"""Links lead somewhere, and every page can be found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import REPOSITORY, Page, pages

PAGES = {page.name: page for page in pages()}


def destination(page: Page, target: str) -> tuple[Path, str]:
    """The file and anchor that a relative link means."""
    name, _, anchor = target.partition("#")
    return (page.path.parent / name).resolve() if name else page.path, anchor


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES.values()])
def test_every_relative_link_resolves(page: Page):
    broken = []
    for target in page.links():
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, anchor = destination(page, target)
        other = PAGES.get(path.relative_to(REPOSITORY).as_posix()) if path.is_relative_to(REPOSITORY) else None
        if not path.exists() or (anchor and (other is None or anchor not in other.anchors())):
            broken.append(target)

    assert broken == []


def test_every_page_can_be_reached_from_the_index():
    index = REPOSITORY / "docs/index.md"
    reached, waiting = set(), [index]
    while waiting:
        path = waiting.pop()
        page = PAGES.get(path.relative_to(REPOSITORY).as_posix()) if path.is_relative_to(REPOSITORY) else None
        if page is None or path in reached:
            continue
        reached.add(path)
        waiting += [destination(page, target)[0] for target in page.links() if "://" not in target]

    lonely = {page.name for page in PAGES.values() if page.name.startswith("docs/")} - {
        path.relative_to(REPOSITORY).as_posix() for path in reached
    }
    assert lonely == set()


@pytest.mark.parametrize("folder", ["core", "airflow_provider", "prefect_blocks"])
def test_a_package_page_links_to_nothing_that_an_index_cannot_show(folder: str):
    relative = [target for target in PAGES[f"{folder}/README.md"].links() if "://" not in target]

    assert relative == []
