"""What is on each screen: a module for each, and how they are called."""

from __future__ import annotations

from pacarchive.web.console.screens import capacity, cartridge, file, jobs, overview, pins, queue, retry, trouble

SCREENS = (
    overview.SCREEN,
    queue.QUEUE,
    cartridge.SCREEN,
    queue.OWNERS,
    retry.SCREEN,
    jobs.LIST,
    jobs.JOB,
    pins.SCREEN,
    capacity.SCREEN,
    trouble.SCREEN,
    file.SCREEN,
)
"""All of them."""
