"""System calls that fail in a real service: strace answers them in the kernel's place."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from system.harness import WANT_DIGEST, Service, content, repr_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STARTING = 2
"""How many directories the service syncs in its main thread before it serves; strace counts for each thread."""

SMALL, LARGE = 1000, 1 << 20


@pytest.fixture
def serve_with(serve: Callable[..., Service], tmp_path: Path) -> Callable[[str], Service]:
    """Starts a service in which some calls fail."""
    if shutil.which("strace") is None:
        pytest.fail("strace is not installed; Debian's and Ubuntu's package is called strace")

    def start(inject: str) -> Service:
        call = inject.partition(":")[0]
        # No other call stops the service.  With this, strace 6 sends no signals.
        only_this = () if ":signal=" in inject else ("--seccomp-bpf",)
        # -D: the service is our child, and strace its helper.
        return serve(
            wrapper=(
                "strace",
                "-D",
                "-f",
                "-qq",
                *only_this,
                "-o",
                str(tmp_path / "trace"),
                "-e",
                f"trace={call}",
                "-e",
                f"inject={inject}",
            )
        )

    return start


def stored_before(serve: Callable[..., Service]) -> None:
    """An archive that already holds ids 0 to 3."""
    service = serve()
    for file_id in range(4):
        assert service.ask("PUT", file_id, content("old", SMALL)).status == 201
    service.stop()


def whole_versions(serve: Callable[..., Service], possible: dict[int, set[bytes | None]]) -> None:
    """
    Start again without faults, and look.

    @param possible: What an id may hold; C{None} stands for no file.
    """
    service = serve()
    for file_id, versions in possible.items():
        answer = service.ask("GET", file_id, fields=WANT_DIGEST)
        if answer.status == 404:
            assert None in versions
        else:
            assert answer.status == 200
            assert answer.body in versions
            assert answer.fields["repr-digest"] == repr_digest(answer.body)
    assert service.temporaries() == []


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(
    ("call", "error", "status"),
    [
        ("fsync", "EIO", 503),
        ("fsync", "ENOSPC", 507),
        ("/^pwritev", "EIO", 503),
        ("/^pwritev", "ENOSPC", 507),
        ("fsetxattr", "ENOSPC", 507),
        ("linkat", "EIO", 503),
        ("linkat", "ENOSPC", 507),
    ],
)
def test_a_failed_call_is_an_error_answered(
    serve: Callable[..., Service],
    serve_with: Callable[[str], Service],
    call: str,
    error: str,
    status: int,
    size: int,
) -> None:
    """What was acknowledged is there, what was not is there whole or not at all, and the service goes on."""
    service = serve_with(f"{call}:error={error}:when={STARTING + 1}")
    possible: dict[int, set[bytes | None]] = {}
    answers = []
    for file_id in range(8):
        data = content(file_id, size)
        answers.append(service.ask("PUT", file_id, data).status)
        possible[file_id] = {data} if answers[-1] == 201 else {data, None}
    assert set(answers) == {201, status}
    service.stop()
    whole_versions(serve, possible)


@pytest.mark.parametrize("when", [1, 2, 3])
@pytest.mark.parametrize("call", ["/^renameat", "linkat"])
def test_a_failed_replacement_keeps_the_old_version(
    serve: Callable[..., Service], serve_with: Callable[[str], Service], call: str, when: int
) -> None:
    """Or the new one, if that was acknowledged."""
    stored_before(serve)
    service = serve_with(f"{call}:error=EIO:when={when}")
    possible: dict[int, set[bytes | None]] = {}
    answers = []
    for file_id in range(4):
        answers.append(service.ask("PUT", file_id, content("new", SMALL)).status)
        possible[file_id] = {content("new" if answers[-1] == 201 else "old", SMALL)}
    assert set(answers) == {201, 503}
    service.stop()
    whole_versions(serve, possible)


def test_a_failed_removal_is_an_error_answered(
    serve: Callable[..., Service], serve_with: Callable[[str], Service]
) -> None:
    """And the file is still there."""
    stored_before(serve)
    service = serve_with("unlinkat:error=EIO:when=1")
    answers = {file_id: service.ask("DELETE", file_id).status for file_id in range(4)}
    assert set(answers.values()) == {200, 503}
    service.stop()
    whole_versions(
        serve, {file_id: {content("old", SMALL) if answer == 503 else None} for file_id, answer in answers.items()}
    )


@pytest.mark.parametrize("call", ["fsync", "/^pwritev", "openat2"])
def test_a_signal_is_no_failure(serve: Callable[..., Service], serve_with: Callable[[str], Service], call: str) -> None:
    """An interrupted call is made again."""
    service = serve_with(f"{call}:error=EINTR:when=2+2")
    possible: dict[int, set[bytes | None]] = {}
    for file_id in range(4):
        data = content(file_id, LARGE)
        assert service.ask("PUT", file_id, data).status == 201
        assert service.ask("GET", file_id).body == data
        possible[file_id] = {data}
    service.stop()
    whole_versions(serve, possible)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("call", ["fsync", "/^pwritev", "fsetxattr", "linkat"])
def test_killed_in_a_call(
    serve: Callable[..., Service], serve_with: Callable[[str], Service], call: str, size: int
) -> None:
    """The whole service, in the middle of storing a file: as if it had never begun, or as if it had been finished."""
    service = serve_with(f"{call}:signal=KILL:when={STARTING + 1}")
    possible: dict[int, set[bytes | None]] = {}
    for file_id in range(8):
        data = content(file_id, size)
        try:
            assert service.ask("PUT", file_id, data).status == 201
        except OSError:
            possible[file_id] = {data, None}
            break
        possible[file_id] = {data}
    assert service.ends() != 0
    whole_versions(serve, possible)
