"""How Sphinx makes the pages of this folder; C{tools/docs} runs it."""

import subprocess
import sys
from pathlib import Path

from pacarchive import __version__
from pacarchive.web.application import ROUTER
from pacarchive.web.openapi import description

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))  # for the extension epytext, and what follows

from apipage import page as api_page  # noqa: E402

project = "pacarchive"
project_copyright = "The pacarchive authors; MIT licence"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.graphviz", "epytext"]
graphviz_output_format = "svg"
# The pages are Markdown as code forges show it, too: nothing of MyST's own but the table of contents in index.md, and
# what is put together from elsewhere.
myst_heading_anchors = 3

# The API of the client.
add_module_names = False
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_type_aliases = {name: f"pacarchive.client.client.{name}" for name in ("Source", "Destination")}
python_maximum_signature_line_length = 100
python_use_unqualified_type_names = True
# What is of other libraries has no pages here, and neither have variables for types.
nitpick_ignore_regex = [("py:(class|exc)", r"(?!pacarchive\.).*|.*\.[TP]")]

html_theme = "alabaster"
html_theme_options = {
    "description": "An archive server",
    "fixed_sidebar": True,
    "page_width": "1100px",
    "show_powered_by": False,
    "show_relbars": True,
}
html_copy_source = False
html_show_sourcelink = False

# In console sessions and in JSON, "..." stands for what differs from one time to the next.
suppress_warnings = ["misc.highlighting_failure"]
highlight_language = "none"


def add_news(app, page, source):
    """Put what has changed under its heading: what towncrier makes of the fragments, and the news of releases."""
    if page == "changes":
        draft = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "after " + version]
        news = subprocess.run(draft, cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603
        released = ROOT / "NEWS.md"
        source[0] += "\n" + news + (released.read_text() if released.exists() else "")
        source[0] = source[0].replace("](docs/", "](")


def add_api(app, page, source):
    """Put the requests of the API under its heading."""
    if page == "api":
        source[0] += "\n" + api_page(description(ROUTER))


def setup(app):
    """Tell Sphinx."""
    app.connect("source-read", add_news)
    app.connect("source-read", add_api)
