"""The log as JSON, from real servers: every line of it, of whichever process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from system.harness import TWISTD, Service, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
SETTINGS = "[server]\nlog_format = json\n"
BOTH = pytest.mark.parametrize("workers", [1, 2])

PLUGIN = """
from pacarchive.settings.providers import BackendProvider

broken = BackendProvider(
    name="broken", section="broken", settings_name="broken:Settings", make_name="broken:make"
)
"""
BACKEND = """
import os

from pacarchive.backends import memory


class Settings(memory.MemorySettings):
    pass


def make(reactor, settings):
    backend = memory.make(reactor, settings)

    async def status(file_id):
        os.write(2, b"a library's own words\\n")
        raise ZeroDivisionError("in\\ntwo lines")

    backend.status = status
    return backend
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services, which may fail in ways that nobody foresaw."""
    started: list[Service] = []

    def begin(*options: str, **more: Any) -> Service:
        service = Service(tmp_path / "service", *options, settings=SETTINGS, **more)
        started.append(service)
        until(lambda: "pacarchive 0" in service.log or service.process.poll() is not None, "it serves")
        service._port = int(re.findall(r"http://127.0.0.1:(\d+)/", service.log)[0])
        return service

    yield begin
    for each in started:
        each.kill()


def records_of(service: Service) -> list[dict[str, Any]]:
    """All that it has said: nothing but objects with a time, a level and a message."""
    records = [json.loads(line) for line in service.log.splitlines()]
    for each in records:
        assert list(each)[:3] == ["time", "level", "namespace"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", each["time"])
        assert isinstance(each["message"], str)
    return records


@BOTH
@pytest.mark.parametrize("to", ["stdout", "file"])
def test_every_line(tmp_path: Path, start: Callable[..., Service], workers: int, to: str) -> None:
    """From twistd's first to its last; those of workers have their number, and the kind and the peer of a refusal."""
    service = start(workers=workers, log_file=tmp_path / "log.json" if to == "file" else None)
    assert service.ask("GET", 12345, fields={"X-Request-Id": "asked-by-me"}).status == 404
    assert service.stop() != 1
    records = records_of(service)
    messages = [each["message"] for each in records]
    assert any(each.startswith("twistd ") for each in messages)
    assert messages[-1] == "Server Shut Down."
    (serving,) = (each for each in records if " archive " in each["message"] and "http://" in each["message"])
    assert serving["level"] == "info"
    assert "worker" not in serving
    (refused,) = (each for each in records if "GET /12345" in each["message"])
    assert (refused["kind"], refused["request_id"]) == ("NotFound", "asked-by-me")
    assert refused["peer"].startswith("127.0.0.1:")
    assert refused["namespace"] == "pacarchive.web.http.refusals"
    assert ("worker" in refused) is (workers > 1)
    if workers > 1:
        assert refused["worker"] in range(workers)


@BOTH
def test_an_incident(tmp_path: Path, start: Callable[..., Service], workers: int) -> None:
    """
    The identifier that the client was given finds one line, with all of the traceback; and what a library writes past
    the log does not break it.
    """
    plugins = tmp_path / "site/twisted/plugins"
    plugins.mkdir(parents=True)
    (plugins / "broken_plugin.py").write_text(PLUGIN)
    (tmp_path / "site/broken.py").write_text(BACKEND)
    service = start("-t", "broken", workers=workers, forked=False, environment={"PYTHONPATH": str(tmp_path / "site")})
    answer = service.ask("HEAD", 1)
    assert answer.status == 500
    answer = service.ask("GET", "/1")
    service.stop()
    lines = service.log.splitlines()
    if workers == 1:  # this went straight to the same place
        assert lines.count("a library's own words") >= 1
        lines = [each for each in lines if each != "a library's own words"]
    records = [json.loads(line) for line in lines]
    (found,) = (each for each in records if each.get("incident") and "HEAD /1" in each["message"])
    assert found["level"] == "critical"
    assert found["message"].startswith(f"incident {found['incident']}: HEAD /1")
    assert found["failure"].startswith("Traceback (most recent call last):\n")
    assert found["failure"].endswith("builtins.ZeroDivisionError: in\ntwo lines")
    if workers > 1:
        words = [each for each in records if each["message"] == "a library's own words"]
        assert words
        assert {each["level"] for each in words} == {"info"}
        assert {each["worker"] for each in [found, *words]} <= {0, 1}


def test_the_file_is_opened_again(tmp_path: Path, start: Callable[..., Service]) -> None:
    """By SIGHUP, as that of text is."""
    log = tmp_path / "log.json"
    service = start(log_file=log)
    log.rename(tmp_path / "log.json.1")
    service.process.send_signal(1)
    until(lambda: "reloaded the log file" in service.log, "it goes on in the new file")
    assert records_of(service)


@pytest.mark.parametrize("way", ["syslog", "tac"])
def test_where_it_cannot_be(tmp_path: Path, way: str) -> None:
    """Said before anything starts, and not in lines of text where JSON is read."""
    settings = tmp_path / "settings.ini"
    settings.write_text(SETTINGS)
    own = {
        "syslog": ["--syslog", "pacarchive", "-c", str(settings), "-t", "memory"],
        "tac": ["-y", str(ROOT / "tac/pacarchive.tac")],
    }[way]
    done = subprocess.run(
        [sys.executable, *TWISTD[1:], *own],
        cwd=tmp_path,
        env={"ARCHIVEINTERFACE_CONFIG": str(settings), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "[server] log_format: json" in done.stderr
