"""Servers for the tests of the console, with something to show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pacarchive.ids import id_to_path
from system.harness import HOST

if TYPE_CHECKING:
    from system.browsing import Browser
    from system.harness import Service
    from system.hpss import Site

GIB = 1 << 30
FILES = 240
"""Of the busy archive, of a GiB or more each."""

SETTINGS = "[auth]\nanonymous = all\n"


def at(service: Service, browser: Browser) -> Service:
    """Have the browser at a service."""
    browser.base = f"http://{HOST}:{service.port}/console"
    return service


def busy(site: Site, beside: str = "", recall: dict[str, object] | None = None) -> Service:
    """An archive with twenty cartridges, four drives, and owners that want a lot."""
    site.archive.set("cartridge_capacity", 12 * GIB)
    site.archive.populate(FILES, GIB, name=lambda number: id_to_path(number)[1:])
    service = site.start(recall={"owner_header": "X-User", **(recall or {})}, beside=SETTINGS + beside)
    for number, owner in enumerate(("climate", "genomics", "lidar")):
        first = 1 + number * 80
        document = {"files": [f"{first}-{first + 79}"], "priority": ("normal", "high", "low")[number]}
        fields = {"Content-Type": "application/json", "X-User": owner}
        answer = service.ask("POST", "/jobs", json.dumps(document).encode(), fields)
        assert answer.status == 201, answer.body
    return service
