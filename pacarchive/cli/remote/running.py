"""Runs a command that asks a server: its client, its session, and its exit code."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import provider

from pacarchive.cli import exits
from pacarchive.cli.printing import complain
from pacarchive.cli.remote.session import Session
from pacarchive.cli.remote.words import failure_words
from pacarchive.cli.running import run_in_reactor
from pacarchive.cli.server import Server, server_of
from pacarchive.cli.words import Misunderstood
from pacarchive.client import ArchiveClient, ClientError, RetryPolicy
from pacarchive.client import retry as retries
from pacarchive.texts import printable

if TYPE_CHECKING:
    import argparse

    from twisted.logger import LogEvent

T = TypeVar("T")

_TELL_RETRIES = 10.0


def run(
    arguments: argparse.Namespace,
    prepare: Callable[[], T],
    command: Callable[[Session, T], Coroutine[Any, Any, None]],
) -> int:
    """
    Run a command.

    @param prepare: Finds out what is wanted, before the reactor runs, so that it may read files.
    @param command: Does it.
    @return: The exit code.
    @raise Misunderstood: The command line means nothing.
    @raise OSError: A file that it names cannot be used.
    """
    wanted = prepare()
    server = server_of(arguments, os.environ, "PACARCHIVE_URL")
    if arguments.connections < 1:
        raise Misunderstood("--connections must be at least 1")
    return run_in_reactor(
        lambda reactor: _command(reactor, arguments, server, lambda session: command(session, wanted))
    )


async def _command(
    reactor: Any,
    arguments: argparse.Namespace,
    server: Server,
    command: Callable[[Session], Coroutine[Any, Any, None]],
) -> int:
    retry = RetryPolicy(attempts=arguments.retry + 1, restarts=arguments.retry)
    try:
        archive = ArchiveClient(
            reactor,
            server.url,
            connections=arguments.connections,
            retry=retry,
            **server.options,
        )
    except (ValueError, OSError) as error:
        return complain(failure_words(error) if isinstance(error, OSError) else error, exits.USAGE)
    async with archive:
        session = Session(reactor, archive, arguments.connections, arguments.quiet, arguments.json)
        try:
            with _retries_told(session):
                await command(session)
        except (ClientError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            session.failed("", error)
        return session.code


@contextmanager
def _retries_told(session: Session) -> Iterator[None]:
    """Say why nothing goes on: what the client logs of that, now and then."""
    next_time = 0.0

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        nonlocal next_time
        if event.get("log_namespace") == retries.__name__ and session.reactor.seconds() >= next_time:
            next_time = session.reactor.seconds() + _TELL_RETRIES
            session.note(printable(f"pacarchive: {str(event['error']).rstrip('.')}; trying again"))

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)
