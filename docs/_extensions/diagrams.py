"""Draws the blocks marked `mermaid`, as hosts of git do, so that the site needs no script for them."""

from __future__ import annotations

from diagram_drawing import draw
from diagram_text import read_diagram
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

__all__ = ["setup"]

_log = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, bool]:
    """Join the build."""
    app.connect("doctree-read", _draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _draw(_: Sphinx, doctree: nodes.document) -> None:
    for block in list(doctree.findall(nodes.literal_block)):
        if block.get("language") != "mermaid":
            continue
        try:
            drawn = draw(read_diagram(block.astext()))
        except ValueError as error:
            _log.warning("a diagram is not drawn: %s", error, location=block)
            continue
        block.replace_self(nodes.raw("", f'<figure class="diagram">{drawn}</figure>', format="html"))
