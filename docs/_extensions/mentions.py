"""Code in the prose: leads from `Plan` or `plan_to_dag()` to the reference, and lets long names in tables be broken."""

from __future__ import annotations

import re
from collections.abc import Iterator

from docutils import nodes
from public_api import read_api
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

__all__ = ["setup"]

# A class, or a function of several words: `run` and `task` are said of many things.
_TELLING = re.compile(r"(?:[a-z_.]+\.)?(?:[A-Z]\w+(?:\.[a-z]\w*)?|[a-z]+_\w+)(?:\(\))?")
# From this length on, a name in a table may go on in the next line, after these.
_LONG = 32
_BREAKS = re.compile(r"(?<=[/_:.-])(?![/_:.-])")
_FIRST = ("coterie", "coterie.errors", "airflow_provider_coterie", "prefect_coterie")


def setup(app: Sphinx) -> dict[str, bool]:
    """Join the build."""
    app.connect("doctree-resolved", _link)
    app.connect("doctree-resolved", _let_long_names_break)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _link(app: Sphinx, doctree: nodes.document, page: str) -> None:
    if not page.startswith("docs/"):
        return
    for literal in list(doctree.findall(nodes.literal)):
        found = _destination(app, literal.astext()) if _is_prose(literal) else None
        if found is None:
            continue
        target, anchor = found
        link = make_refnode(app.builder, page, target, anchor, literal.deepcopy(), literal.astext())
        literal.replace_self(link)


def _let_long_names_break(_: Sphinx, doctree: nodes.document, _page: str) -> None:
    for cell in doctree.findall(nodes.entry):
        for literal in cell.findall(nodes.literal):
            parts = _BREAKS.split(literal.astext())
            if len(literal.astext()) < _LONG or len(parts) == 1:
                continue
            first, *others = parts
            literal.children = []
            literal.append(nodes.Text(first))
            for part in others:
                literal.extend([nodes.raw("", "<wbr>", format="html"), nodes.Text(part)])


def _is_prose(literal: nodes.literal) -> bool:
    around = literal.parent
    while around is not None:
        if isinstance(around, (nodes.reference, nodes.title)):
            return False
        around = around.parent
    return True


def _destination(app: Sphinx, text: str) -> tuple[str, str] | None:
    """The page and anchor of what is named."""
    if not _TELLING.fullmatch(text):
        return None
    objects = app.env.domains.python_domain.objects
    for name in _places(text.removesuffix("()")):
        if name in objects:
            return objects[name].docname, objects[name].node_id
    return None


def _places(text: str) -> Iterator[str]:
    """The full names that it may stand for, the likeliest first."""
    yield text
    yield from (f"{module}.{text}" for module in _FIRST)
    name, _, member = text.partition(".")
    meant = {entry.name for key, entry in read_api().by_name.items() if key.rpartition(".")[2] == name}
    if len(meant) == 1:
        yield f"{meant.pop()}.{member}".rstrip(".")
