"""C{pacarchive admin access explain}: what a caller would be allowed, and by which rule."""

from __future__ import annotations

import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from pacarchive.access.gate import Caller
from pacarchive.access.identity import Access, BadCredentials, How, Identity
from pacarchive.access.rights import Right
from pacarchive.access.service import AccessService, policy_of
from pacarchive.access.settings import callers
from pacarchive.cli import exits
from pacarchive.cli.admin.archive import settings_of
from pacarchive.cli.printing import complain, print_json
from pacarchive.cli.running import run_in_reactor
from pacarchive.errors import Unavailable
from pacarchive.ids import parse_file_id
from pacarchive.texts import decoded, printable

if TYPE_CHECKING:
    import argparse

    from pacarchive.settings.sections import Settings

_LONGEST = 64 << 10


def run(arguments: argparse.Namespace) -> int:
    """Run it."""
    settings = settings_of(arguments)
    try:
        file_id = None if arguments.id is None else parse_file_id(arguments.id)
        token = None if arguments.token_file is None else _read(arguments.token_file)
        for label in arguments.who or ():
            if callers(label) != (label,) or label.startswith("net:"):
                raise ValueError(
                    f"{label!r} is nobody that a rule calls so; --address says where a caller connects from"
                )
        if arguments.address is not None:
            ip_address(arguments.address)
    except OSError as error:
        return complain(f"{arguments.token_file}: {error.strerror}", exits.USAGE)
    except ValueError as error:
        return complain(error, exits.USAGE)
    try:
        access = _access(settings, arguments, token)
    except BadCredentials as error:
        return complain(f"the server would answer 401: {error.detail}", exits.FAILED)
    except Unavailable as error:
        return complain(error, exits.UNAVAILABLE)
    if arguments.json:
        print_json(_document(access, file_id))
    else:
        _tell(access, file_id)
    return exits.OK


def _read(path: str) -> str:
    with sys.stdin.buffer if path == "-" else open(path, "rb") as file:
        return decoded(file.read(_LONGEST)).strip()


def _access(settings: Settings, arguments: argparse.Namespace, token: str | None) -> Access:
    if token is None:
        policy = policy_of(settings)
        if not arguments.who:
            return policy.unrecognised(arguments.address)
        return policy.access(Identity(arguments.who[0], How.NONE, frozenset(arguments.who)), arguments.address)
    caller = Caller(f"Bearer {token}".encode("latin-1", "replace"), arguments.address, arguments.address or "local")

    async def ask(reactor: Any) -> Access:
        service = AccessService(reactor, settings)
        try:
            await service.start()
            known = service.gate.known(caller)
            return await service.gate.verify(caller) if known is None else known
        finally:
            await service.stop()

    return run_in_reactor(ask)


def _sources(access: Access, right: Right, file_id: int | None) -> list[str]:
    return [
        each.source
        for each in access.grants
        if right in each.rights and (file_id is None or each.ids is None or file_id in each.ids)
    ]


def _document(access: Access, file_id: int | None) -> dict[str, Any]:
    rights = {str(right): _sources(access, right, file_id) for right in Right}
    return {"caller": access.name, "how": access.how.value, "id": file_id, "rights": rights}


def _tell(access: Access, file_id: int | None) -> None:
    which = "any file" if file_id is None else f"file {file_id}"
    sys.stdout.write(f"{printable(access.name)} (recognised by: {access.how.value}), for {which}:\n")
    for right in Right:
        sources = list(dict.fromkeys(_sources(access, right, file_id)))
        sys.stdout.write(f"  {right!s:7} {'yes, by ' + ', '.join(sources) if sources else 'no'}\n")
