"""The documents as a site: built once, without a warning; nothing in it leads nowhere or to another host."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import REPOSITORY
from tests.docs.site import WebPage, inventory, loaded_by_styles, web_pages

PYTHON = REPOSITORY / ".venvs/docs/bin/python"
SOURCES = {
    "coterie": "core/src",
    "airflow_provider_coterie": "airflow_provider/src",
    "prefect_coterie": "prefect_blocks/src",
}
MINUTES = 20


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    assert PYTHON.exists(), "the environment that makes the site is not built; run `make setup-docs`"
    folder = tmp_path_factory.mktemp("site")
    words = [PYTHON, "-m", "sphinx", "--quiet", "--conf-dir", "docs", "--fail-on-warning", "--jobs", "auto"]
    done = subprocess.run(
        [*words, "--doctree-dir", folder / "doctrees", ".", folder / "html"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=MINUTES * 60,
        check=False,
    )
    return folder / "html", done


@pytest.fixture(scope="module")
def site(built: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    return built[0]


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, WebPage]:
    return web_pages(site)


def public_names() -> Iterator[str]:
    """Every name that is promised, as the sources list it; adapters cannot be imported here."""
    promised = (REPOSITORY / "docs/reference/versions.md").read_text("utf-8")
    row = next(line for line in promised.splitlines() if line.startswith("| public names |"))
    for module in re.findall(r"`([a-z_.]+)`", row.partition(" lists")[0]):
        if module.partition(".")[0] not in SOURCES:
            continue
        place = REPOSITORY / SOURCES[module.partition(".")[0]] / module.replace(".", "/")
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        for statement in ast.parse(path.read_text("utf-8")).body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
                yield from (f"{module}.{name}" for name in ast.literal_eval(statement.value))


def test_the_site_is_built_without_a_warning(built: tuple[Path, subprocess.CompletedProcess[str]]):
    _, done = built

    assert (done.returncode, done.stderr) == (0, "")


def test_every_link_within_the_site_leads_somewhere(pages: dict[Path, WebPage], site: Path):
    broken = {str(path.relative_to(site)): list(page.broken(pages)) for path, page in pages.items()}

    assert {name: links for name, links in broken.items() if links} == {}
    assert sum(len(page.links) for page in pages.values()) > 1000


def test_no_page_loads_anything_from_another_host(pages: dict[Path, WebPage], site: Path):
    loaded = {target for page in pages.values() for target in page.loaded} | set(loaded_by_styles(site))

    assert {target for target in loaded if re.match(r"(?:[a-z]+:)?//", target)} == set()
    assert any(target.partition("?")[0].endswith(".css") for target in loaded)


def test_the_site_can_be_searched_without_a_server(pages: dict[Path, WebPage], site: Path):
    index = (site / "searchindex.js").read_text("utf-8")

    assert index.startswith("Search.setIndex(")
    assert "docs/reference/circuit-breaker" in index
    # As a script, it is loaded from a folder too, where a browser fetches nothing.
    assert any(target.partition("?")[0] == "searchindex.js" for target in pages[site / "search.html"].loaded)


def test_every_public_name_is_explained(site: Path):
    names = set(public_names())

    assert names - inventory(site) == set()
    assert {"coterie.Plan", "airflow_provider_coterie.plan_to_dag", "prefect_coterie.plan_to_flow"} <= names


def test_a_public_name_is_shown_with_its_types_and_what_it_raises(site: Path):
    text = re.sub(r"<[^>]+>", "", (site / "docs/reference/python/plans.html").read_text("utf-8"))

    assert "tasks: Iterable[Task]" in re.sub(r"\s+", " ", text)
    assert "PlanError: CycleFound" in text


def test_every_page_of_the_documents_is_in_the_site(site: Path):
    sources = {path.relative_to(REPOSITORY).with_suffix(".html") for path in REPOSITORY.glob("docs/**/*.md")}

    assert {str(path) for path in sources if not (site / path).exists()} == set()


def test_the_folder_of_the_site_leads_to_its_first_page(pages: dict[Path, WebPage], site: Path):
    assert pages[site / "index.html"].links == ["docs/index.html"]


@pytest.mark.parametrize(
    "page", ["docs/index", "docs/how-to/README", "docs/how-to/run-on-airflow", "docs/reference/plan"]
)
def test_the_guides_stand_in_the_groups_of_their_own_page(site: Path, page: str):
    read = (site / f"{page}.html").read_text("utf-8")
    written = (REPOSITORY / "docs/how-to/README.md").read_text("utf-8").partition("## How to read")[0]

    groups = re.findall(r'<li class="navigation-group">([^<]+)</li>', read)
    assert groups == re.findall(r"^## (.+)$", written, re.MULTILINE)


def test_every_diagram_is_drawn(site: Path):
    sources = sum(path.read_text("utf-8").count("```mermaid") for path in REPOSITORY.glob("docs/**/*.md"))
    drawn = sum(path.read_text("utf-8").count('<svg class="diagram"') for path in site.glob("docs/**/*.html"))

    assert drawn == sources


def docstring_as_markdown(text: str, *names: str) -> str:
    """What the site's own extension makes of a docstring."""
    path = REPOSITORY / "docs/_extensions/docstring.py"
    spec = importlib.util.spec_from_file_location("docstring_of_the_site", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.to_markdown(text, names)


def test_lines_about_arguments_become_a_list():
    text = "Do it.\n\nstore: where, or\n    its URL.\nlog: why. agent: who.\n\nNote: not an argument."

    made = docstring_as_markdown(text, "store", "log", "agent")

    items = "- `store`: where, or its URL.\n- `log`: why.\n- `agent`: who."
    assert made == f"Do it.\n\n{items}\n\nNote: not an argument."


def test_what_is_raised_becomes_a_list_of_errors():
    text = "Do it.\n\nRaises:\n    PlanError: no tasks. Misuse, PoolBusy: not\n    now.\n\nSource: a book."

    made = docstring_as_markdown(text)

    assert (
        made == "Do it.\n\n**Raises**\n\n- `PlanError`: no tasks.\n- `Misuse`, `PoolBusy`: not now.\n\nSource: a book."
    )


def test_what_is_raised_may_be_a_sentence():
    assert docstring_as_markdown("Do it.\n\nRaises:\n    As `call` does.") == "Do it.\n\n**Raises** As `call` does."
