"""What is on each screen: a module for each, and how they are called."""

from __future__ import annotations

from pacarchive.web.console.screens import file, jobs, overview, pins

SCREENS = (overview.SCREEN, jobs.LIST, jobs.JOB, pins.SCREEN, file.SCREEN)
"""All of them."""
