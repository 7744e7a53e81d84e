"""What the tests of stage jobs share: a server that has one, and what is sent to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from doubles import JOB, job_file, job_status
from support import Answer, Server, serving

from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.words import JobRequest
from pacarchive.settings.server import Compatibility

URL = f"/jobs/{JOB}"
OTHER = "f" * 32
JSON = "Content-Type: application/json"
MOST = 50
"""The setting: how many files a job may have."""


@pytest.fixture(params=list(Compatibility), ids=lambda mode: mode.value)
def either(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server, in both modes: the predecessor had no jobs, so there is nothing to be compatible with."""
    with serving(
        Server(recall=RecallSettings(job_files=MOST, owner_header="X-User"), compatibility=request.param)
    ) as it:
        yield it


@pytest.fixture
def server() -> Iterator[Server]:
    """One that has a job of three files."""
    with serving(Server(recall=RecallSettings(job_files=MOST, owner_header="X-User"))) as server:
        server.recalls.place(job_status(), *(job_file(file_id) for file_id in (12, 13, 2**64 - 1)))
        yield server


def document_of(answer: Answer, status: int = 200) -> Any:
    """The document of a success."""
    assert answer.status == status, answer.body
    assert answer.field("Content-Type") == "application/json"
    return json.loads(answer.body)


def post(server: Server, url: str, document: object, *fields: str) -> Answer:
    return server.ask("POST", url, JSON, *fields, body=json.dumps(document).encode())


def submit(server: Server, **document: Any) -> JobRequest:
    """Submit a job, and return what the engine got."""
    assert post(server, "/jobs", document).status == 201
    ((request,),) = server.recalls.called("submit")
    assert isinstance(request, JobRequest)
    server.recalls.calls.clear()
    return request
