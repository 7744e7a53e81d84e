"""Real servers over a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from system.harness import Service

from backends.s3.servers import ACCESS_KEY, BUCKET, SECRET_KEY

if TYPE_CHECKING:
    from pathlib import Path


def settings_of(endpoint: str, *, move_root: str = "/none", **own: Any) -> str:
    """
    The text of the settings of a node.

    @param move_root: From where objects may be moved in.
    @param own: Of the section of the backend.
    """
    lines = {"endpoint": endpoint, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY, **own}
    head = f"[server]\ntype = s3\nmove_roots = {move_root}\n[s3]\n"
    return head + "".join(f"{name} = {value}\n" for name, value in lines.items())


def node(directory: Path, endpoint: str, name: str, *, workers: int = 1, **own: Any) -> Service:
    """
    Start a server.

    @param name: Of the archive: what its keys begin with.
    @param own: Settings of the backend.
    """
    settings = settings_of(endpoint, move_root=f"/{BUCKET}/{name}-imports", **own)
    # The option of the harness is one for a directory; the last one counts.
    return Service(directory, "-t", "s3", "--prefix", f"/{BUCKET}/{name}", settings=settings, workers=workers)
