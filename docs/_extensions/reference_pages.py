"""Puts what the docstrings say into the pages of docs/reference/python.

There, a page is a list of links to sources, which is what a host of git shows. In the site each line of the form
``- [`coterie.Plan`](../../../core/src/coterie/plan.py)`` becomes the signature, the docstring and the members.
"""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from public_api import REPOSITORY, read_api
from rendering import render
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging

__all__ = ["setup"]

_FOLDER = "docs/reference/python/"
_LINE = re.compile(r"^- \[`(?P<name>[\w.]+)`\]\((?P<target>[^)]+)\)$", re.MULTILINE)
_log = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, bool]:
    """Join the build."""
    app.connect("source-read", _fill)
    app.connect("doctree-read", _index_further_places)
    app.connect("missing-reference", _leave_what_is_not_ours)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _fill(app: Sphinx, page: str, content: list[str]) -> None:
    if not page.startswith(_FOLDER):
        return
    folder = Path(app.env.doc2path(page)).parent
    content[0] = _LINE.sub(lambda line: _entry(app, page, folder, line), content[0])


def _entry(app: Sphinx, page: str, folder: Path, line: re.Match[str]) -> str:
    entry = read_api().by_name.get(line["name"])
    if entry is None:
        _log.warning("%r is in no public __all__; remove it from this page", line["name"], location=page)
        return ""
    if (folder / line["target"]).resolve() != entry.path:
        where = entry.path.relative_to(REPOSITORY)
        _log.warning("%s is defined in %s; mend the link", entry.name, where, location=page)
    app.env.note_dependency(str(entry.path))
    return f"\n{render(read_api(), entry)}\n"


def _index_further_places(app: Sphinx, doctree: nodes.document) -> None:
    """Let the further places that a name is imported from lead to it too."""
    domain = app.env.domains.python_domain
    for signature in doctree.findall(addnodes.desc_signature):
        entry = read_api().by_name.get(f"{signature.get('module') or ''}.{signature.get('fullname')}".lstrip("."))
        if entry is None or not signature.get("ids"):
            continue
        kind = signature.parent["objtype"]
        for name in {entry.name, *entry.others} - set(domain.objects):
            domain.note_object(name, kind, signature["ids"][0], aliased=True, location=signature)


def _leave_what_is_not_ours(
    _app: Sphinx, _env: object, node: addnodes.pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Types of a signature that are not public, or not ours, are text; what a page refers to must exist."""
    if node.get("refdomain") == "py" and node.get("reftype") in ("class", "obj") and "py:module" in node:
        return content if node.get("reftarget") not in read_api().by_name else None
    return None
