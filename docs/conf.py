"""How Sphinx makes the pages of this folder; C{tools/docs} runs it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for the extension epytext

from pacarchive import __version__

project = "pacarchive"
project_copyright = "The pacarchive authors; MIT licence"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "epytext"]
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
