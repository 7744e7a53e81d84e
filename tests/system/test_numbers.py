"""Numbers that clients send, to a real service with a real job store: none of them is a failure of the server's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from system.harness import Client, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = {"Content-Type": "application/json"}
LONG = "1" * 4500
"""More digits than Python makes an integer of."""

EDGES = [0, 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**63 + 2**64, 10**19, 10**20 - 1, 10**20]
NUMBERS = st.one_of(st.sampled_from(EDGES), st.integers(-(2**70), 2**70))
# Zeros in front, signs, other digits, blanks: what one reader or another takes for the same number.
FORMS = [*["{}"] * 8, "0{}", "+{}", " {}", "{}.0", "{}e3", "\u0663{}", "1_{}"]
WRITTEN = st.builds(lambda number, form: form.format(number), NUMBERS, st.sampled_from(FORMS))
TEXTS = st.one_of(WRITTEN, WRITTEN, st.sampled_from([LONG, "", "all"]), st.text(max_size=20))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A connection to a service that has a file, 5, and a job of it."""
    service = Service(tmp_path_factory.mktemp("service"), settings="[recall]\njob_files = 100\n")
    try:
        with service.client() as client:
            assert client.ask("PUT", 5, b"12345").status == 201
            yield client
        service.stop()
        service.assert_clean()
    finally:
        service.kill()


@pytest.fixture(scope="module")
def job(client: Client) -> str:
    """The job."""
    answer = client.ask("POST", "/jobs", '{"files": [5]}', JSON)
    assert answer.status == 201
    found: str = json.loads(answer.body)["job"]
    return found


@settings(max_examples=100)
@given(first=TEXTS, second=TEXTS, form=st.sampled_from(["{0}", "{0}-{1}"]))
def test_in_targets_and_fields(client: Client, job: str, first: str, second: str, form: str) -> None:
    """Whatever stands where a number may stand is understood or refused."""
    text = form.format(first, second)
    word = quote(text)
    targets = [
        f"/jobs?before={word}", f"/jobs?limit={word}", f"/pins?after={word}", f"/pins?limit={word}",
        f"/jobs/{job}?since={word}", f"/jobs/{job}/files?since={word}", f"/jobs/{job}/files?limit={word}",
        f"/pins?after={quote(first)}-{job}", f"/5?byte_range={word}", f"/{word}",
    ]  # fmt: skip
    ranges = {"Range": f"bytes={word}", "Prefer": f"wait={word}", "Depth": word}
    for target in targets:
        assert client.ask("GET", target, fields=ranges).status != 500, target
    assert client.ask("HEAD", f"/jobs/{job}/events", fields={"Last-Event-ID": word}).status != 500
    assert client.ask("DELETE", f"/pins/{word}").status != 500


@settings(max_examples=100)
@given(one=st.one_of(NUMBERS, TEXTS, st.floats(), st.booleans()), other=st.one_of(NUMBERS, TEXTS, st.floats()))
def test_in_documents(client: Client, job: str, one: object, other: object) -> None:
    """The same of what stands in JSON."""
    documents = [
        ("/jobs", {"files": [one], "dry_run": True}),
        ("/jobs", {"files": [f"{one}-{other}"], "dry_run": True}),
        ("/jobs", {"files": [5], "pin": one, "deadline": other, "dry_run": True}),
        (f"/jobs/{job}/cancel", {"files": [one, other]}),
        (f"/jobs/{job}/release", {"files": [one]}),
        ("/api/v1/stage", {"files": [{"path": f"/{one}", "diskLifetime": f"PT{other}S"}]}),
        ("/api/v1/archiveinfo", {"paths": [f"/{one}", other]}),
        (f"/api/v1/stage/{job}/cancel", {"paths": [f"/{one}"]}),
        (f"/api/v1/release/{job}", {"paths": [f"/{other}"]}),
    ]
    for target, document in documents:
        text = json.dumps(document).replace(f'"{LONG}"', LONG)
        assert client.ask("POST", target, text, JSON).status != 500, (target, text)
