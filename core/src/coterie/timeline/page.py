"""A run's timeline as one HTML page: no file beside it, nothing fetched, quick with twenty thousand spans.

The document lies in the page as JSON that holds no `<`, `>` or `&`, so no text of a run can end its element. The
script writes text as text alone, and the page's content security policy allows exactly its own style sheet and
script, by their hashes, and no markup made from strings (trusted types): a hole in one of the three runs nothing.
The page is a function of the document: no clock, no chance. Its parts are package data in `assets/`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
from collections.abc import Mapping
from importlib import resources
from string import Template

from coterie.errors import Misuse

__all__ = ["page_of", "page_policy"]

# The script is one module; its parts are kept apart for readers, lowest first.
_SCRIPT_PARTS = (
    "text.js",
    "model.js",
    "forest.js",
    "search.js",
    "view.js",
    "rows.js",
    "overview.js",
    "summary.js",
    "panel.js",
    "help.js",
    "show.js",
    "keys.js",
    "main.js",
)
# What could end the element that holds the document, or open a comment or an entity in it.
_MARKUP = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}
_MAX_TITLE = 200


def page_of(document: Mapping[str, object], *, served: bool = False) -> str:
    """The page that shows `document`, which is what `coterie trace show --json` prints.

    The same document always gives the same page, of ASCII in what comes from the run: its size is that of the
    document's JSON in ASCII and less than 100 kB.

    served: whether it is one of the pages of `coterie trace serve`: it leads to the others, and says of a run that
    goes on that it does.

    Raises:
        Misuse: the document is not JSON (a set, NaN).
    """
    style, script = _parts()
    return Template(_asset("page.html")).substitute(
        policy=_policy(style, script),
        title=html.escape(_title(document), quote=True),
        around=_around(document) if served else "",
        style=style,
        document=_embedded(document),
        script=script,
    )


def page_policy() -> str:
    """The content security policy that every page has, for whoever serves them."""
    return _policy(*_parts())


def _parts() -> tuple[str, str]:
    """The style sheet and the script."""
    return _asset("page.css"), "\n".join(map(_asset, _SCRIPT_PARTS))


def _around(document: Mapping[str, object]) -> str:
    run = document.get("run")
    ended = run.get("ended_us") if isinstance(run, Mapping) else None
    # An empty address is this page's own.
    goes_on = (
        "" if ended is not None else ' <span>It has not ended: <a href="">load it again</a> for how it stands.</span>'
    )
    return f'<nav class=served><a href="/">All runs</a>{goes_on}</nav>\n'


def _embedded(document: Mapping[str, object]) -> str:
    """JSON of ASCII (so line separators and lone surrogates are escapes too) without a sign that markup needs."""
    try:
        text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise Misuse(f"the timeline's document is not JSON: {error}; pass what `document_of` returns") from error
    return text.translate(_MARKUP)


def _title(document: Mapping[str, object]) -> str:
    run = document.get("run")
    told = run.get("id") if isinstance(run, Mapping) else run
    name = str(told or "a run").encode("ascii", "replace").decode()
    return name if len(name) <= _MAX_TITLE else f"{name[:_MAX_TITLE]}..."


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@functools.cache
def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")
