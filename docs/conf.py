"""How Sphinx makes the pages of this folder; C{tools/docs} runs it."""

from pacarchive import __version__

project = "pacarchive"
project_copyright = "The pacarchive authors; MIT licence"
version = release = __version__

extensions = ["myst_parser"]
# The pages are Markdown as code forges show it, too: nothing of MyST's own but the table of contents in index.md.
myst_heading_anchors = 3

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
