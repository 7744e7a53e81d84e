"""Signing requests, and the credentials for that: both by botocore, which this is the only module to import.

Signing takes less than a millisecond, and is done in the reactor's thread.  Finding credentials may read files and ask
services of the machine or of the cloud, so that is done in a thread, also for those that expire: well before they do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, NoCredentialsError
from botocore.session import Session
from twisted.logger import Logger

from pacarchive import errors
from pacarchive.runtime.shared import Shared
from pacarchive.runtime.threads import BlockingPool

_STALE = 60.0
"""Seconds for which credentials that may expire are used without asking whether there are newer ones."""

_log = Logger()


class Key(Protocol):
    """As much of botocore's credentials as is used here: frozen ones, which are not refreshed."""

    access_key: str
    secret_key: str
    token: str | None


class _Auth(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """
    Signs what is given to it: the time and the digest of the body are not found out here.

    @param seconds: The time of the store, in seconds since the epoch.
    """

    def __init__(self, key: Key, region: str, seconds: float) -> None:
        super().__init__(key, "s3", region)
        self._stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))

    def add_auth(self, request: Any) -> None:
        request.context["timestamp"] = self._stamp
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))

    def payload(self, request: Any) -> str:
        return str(request.context["payload"])


def signed(
    key: Key, region: str, seconds: float, method: str, url: str, headers: Mapping[str, str], payload: str
) -> dict[str, str]:
    """
    Sign a request.

    @param key: The credentials.
    @param seconds: The time of the store, in seconds since the epoch.
    @param url: The URL as it is sent, all quoted; each parameter of the query has an equals sign.
    @param headers: The headers to be signed.
    @param payload: The SHA-256 of the body in hexadecimal digits, or the word for none.
    @return: All headers to send but C{Host} and C{Content-Length}.
    """
    request = AWSRequest(method=method, url=url, headers=dict(headers))
    request.context["payload"] = payload
    _Auth(key, region, seconds).add_auth(request)
    return dict(request.headers.items())


class CredentialSource:
    """
    The credentials of this moment.

    @param pool: A thread for looking for them; started and stopped by the owner of this.
    @param clock: The time in seconds, from any start.
    @param find: Finds them; called in the thread.
    """

    def __init__(self, pool: BlockingPool, clock: Callable[[], float], find: Callable[[], Any]) -> None:
        self._pool = pool
        self._clock = clock
        self._find = find
        self._found: Any = None
        self._key: Key | None = None
        self._fresh_until = 0.0
        self._renewal: Shared[None] | None = None

    async def key(self) -> Key:
        """
        Return the credentials to sign with.

        @raise errors.BackendUnavailable: There are none.
        """
        if self._clock() >= self._fresh_until and (self._renewal is None or self._renewal.ended):
            self._renewal = Shared(self._renew())
        if self._key is None:
            assert self._renewal is not None, "what is not fresh is renewed"
            await self._renewal.result()
            assert self._key is not None, "or it has failed"
        return self._key

    def doubt(self) -> None:
        """Forget them, as the store does not take them any more."""
        self._key = None
        self._fresh_until = 0.0

    async def _renew(self) -> None:
        try:
            self._key, lasting = await self._pool.run(self._look)
        except BotoCoreError as error:
            # Those that are there are used on: they expire minutes after the first attempt to renew them.
            _log.error("the credentials for the object store cannot be renewed: {words}", words=error)
            self._fresh_until = self._clock() + _STALE
            raise errors.BackendUnavailable("There are no credentials for the object store.") from error
        self._fresh_until = math.inf if lasting else self._clock() + _STALE

    def _look(self) -> tuple[Key, bool]:
        """Return the credentials, and whether they never expire."""
        if self._found is None:
            self._found = self._find()
        if self._found is None:
            raise NoCredentialsError
        return self._found.get_frozen_credentials(), type(self._found) is Credentials


def find_credentials(access_key: str, secret_key: str, profile: str) -> Callable[[], Any]:
    """
    Return what finds the credentials.

    @param access_key: The access key, where the settings have one.
    @param secret_key: The secret key that belongs to it.
    @param profile: The profile in the configuration files of the AWS tools; empty for their default.
    """
    if access_key:
        return lambda: Credentials(access_key, secret_key)
    return lambda: Session(profile=profile or None).get_credentials()
