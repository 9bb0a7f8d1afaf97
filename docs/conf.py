"""How Sphinx makes the site: `make docs`.

The sources are the Markdown files of the repository as they are. Its root is the source folder, so that links between
docs/ and what lies beside it hold here as on a host of git.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).with_name("_extensions")))

from navigation import PAGES_OUTSIDE
from public_api import REPOSITORY

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "coterie"
author = "the authors of coterie"
version = release = next(
    line.partition('"')[2].rstrip('"')
    for line in (REPOSITORY / "core/src/coterie/__init__.py").read_text("utf-8").splitlines()
    if line.startswith("__version__")
)

extensions = ["myst_parser", "sphinx_copybutton", "navigation", "reference_pages", "mentions", "diagrams"]
root_doc = "docs/index"
include_patterns = ["docs/**.md", *PAGES_OUTSIDE]
exclude_patterns = [".*", "**/.*", "build", "core", "airflow_provider", "prefect_blocks", "tests", "docs/_*"]
nitpicky = True

# As code hosts make anchors, down to the smallest heading.
myst_heading_anchors = 6
myst_enable_extensions = ["colon_fence"]

add_module_names = False
maximum_signature_line_length = 88
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
pygments_dark_style = "a11y-high-contrast-dark"
html_title = f"coterie {version}"
html_static_path = ["_static"]
html_css_files = ["coterie.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
templates_path = ["_templates"]
# The site's own folder leads to its first page.
html_additional_pages = {"index": "to-first-page.html"}


def setup(app: Sphinx) -> None:
    """Read all pages anew when what reads them has changed."""
    sources = sorted(Path(__file__).with_name("_extensions").glob("*.py"))
    digest = sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    app.add_config_value("extensions_digest", digest, "env", str)
