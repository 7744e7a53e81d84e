"""The object store: requests that are signed, limited in number and repeated, and what their answers mean."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pacarchive import errors
from pacarchive.backends.s3.documents import Refusal, http_time, refusal
from pacarchive.backends.s3.lane import Lane
from pacarchive.backends.s3.request import Addresses, Answer, Request
from pacarchive.backends.s3.sending import NoAnswerError, Stream, Wire
from pacarchive.backends.s3.signing import CredentialSource, signed
from pacarchive.texts import printable

T = TypeVar("T")

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0
_SKEW = 60.0
"""Seconds by which clocks may differ before the store's is followed; it refuses requests at 900."""

_BUSY = frozenset({"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests"})
_PASSING = frozenset(
    {
        "BadDigest",  # it was changed on the way
        "ConditionalRequestConflict",
        "IncompleteBody",
        "OperationAborted",
        "RequestTimeout",
        "XAmzContentSHA256Mismatch",
    }
)
_WRONG_KEY = frozenset({"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "TokenRefreshRequired"})
_FULL = frozenset({"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "StorageFull", "BucketQuotaExceeded"})

_log = Logger()


class RefusedError(Exception):
    """
    The store has refused a request, and would do so again.

    @ivar status: The status of HTTP.
    @ivar code: The store's word for it.
    @ivar words: What it says to people, for the log.
    @ivar repeated: Whether the request was sent before, and may have been carried out then.
    """

    def __init__(self, status: int, code: str, words: str, *, repeated: bool = False) -> None:
        super().__init__(f"{status} {code}: {words}")
        self.status = status
        self.code = code
        self.words = words
        self.repeated = repeated

    def translated(self) -> errors.ArchiveError:
        """What a client is told, which has nothing of the store's own words; they are logged."""
        if self.code in _FULL or self.status == 507:
            return errors.NoSpace("The object store is full.")
        if self.code == "EntityTooLarge":
            return errors.TooLarge("The file is larger than the object store takes.")
        _log.error("the object store refuses a request: {status} {code}: {words}", **vars(self))
        if self.status == 403:
            return errors.BackendUnavailable("The object store does not permit that.", retry_after=60)
        return errors.BackendUnavailable("The object store refuses the request.", retry_after=60)


class InDoubtError(errors.BackendUnavailable):
    """A request has no answer, and it may have been carried out."""


class ObjectStore:
    """
    An object store.

    @param wire: Sends requests.
    @param clock: The clock, in seconds since the epoch.
    @param credentials: What requests are signed with.
    @param addresses: The URLs.
    @param region: The region that requests are signed for.
    @param most: How many requests are sent at a time, without those that carry parts or data of large files.
    @param retry_for: How long a request is repeated, in seconds.
    @param chance: A random number of 0 to 1, by which pauses vary.
    """

    def __init__(
        self,
        wire: Wire,
        clock: IReactorTime,
        credentials: CredentialSource,
        addresses: Addresses,
        region: str,
        *,
        most: int,
        retry_for: float,
        chance: Callable[[], float],
    ) -> None:
        self.addresses = addresses
        self.offset = 0.0
        self._wire = wire
        self._clock = clock
        self._credentials = credentials
        self._region = region
        self._retry_for = retry_for
        self._chance = chance
        self._small = Lane(most)
        self._large = Lane(most)

    def now(self) -> float:
        """The store's time, in seconds since the epoch."""
        return self._clock.seconds() + self.offset

    async def ask(self, request: Request, *accepted: int, large: bool = False) -> Answer:
        """
        Send a request until there is an answer.

        @param accepted: Statuses that are answers, beside those of success.
        @param large: Whether it carries much data, which has slots of its own.
        @raise RefusedError: The store refuses it.
        @raise InDoubtError: It has failed for too long.
        @raise errors.BackendUnavailable: It cannot be reached, or has been too busy for too long.
        """

        async def attempt(url: str, headers: dict[str, str]) -> Answer:
            return await self._wire.ask(
                request.method, url, headers, request.body, most=request.most, patience=request.patience
            )

        return await self._repeat(request, accepted, self._large if large else self._small, attempt)

    async def begin(self, request: Request, *accepted: int) -> Answer | Stream:
        """
        As L{ask}, for a request whose answer has much data.

        @return: The data, if that is the answer.
        """

        async def attempt(url: str, headers: dict[str, str]) -> Answer | Stream:
            return await self._wire.begin(request.method, url, headers)

        return await self._repeat(request, accepted, self._small, attempt)

    async def _repeat(
        self,
        request: Request,
        accepted: tuple[int, ...],
        lane: Lane,
        attempt: Callable[[str, dict[str, str]], Awaitable[T]],
    ) -> T:
        url = self.addresses.url(request)
        retry_for = self._retry_for if request.retry_for is None else min(request.retry_for, self._retry_for)
        end = self._clock.seconds() + retry_for + (request.patience or 0)
        in_doubt = False
        pause = _FIRST_PAUSE
        corrections = 0
        while True:
            try:
                key = await self._credentials.key()
                await lane.enter()
                try:
                    headers = signed(
                        key, self._region, self.now(), request.method, url, request.headers, request.sha256
                    )
                    answer = await attempt(url, headers)
                finally:
                    lane.leave()
            except NoAnswerError as error:
                trouble = str(error)
                in_doubt |= error.was_sent
            else:
                refused = _refusal(request, answer, accepted)
                if refused is None:
                    lane.speed_up()
                    if in_doubt and isinstance(answer, Answer):
                        return attrs.evolve(answer, repeated=True)
                    return answer
                if corrections < 2 and self._corrects(refused):
                    corrections += 1
                    continue
                trouble = refused[1].code
                if refused[1].code in _BUSY or refused[0].status in (429, 503):
                    lane.slow_down()
                elif not _may_pass(refused[0].status, refused[1].code):
                    raise RefusedError(refused[0].status, refused[1].code, refused[1].words, repeated=in_doubt)
                in_doubt |= refused[0].status >= 500 and refused[1].code not in _BUSY
            wait = pause * (0.5 + self._chance() / 2)
            if self._clock.seconds() + wait > end:
                _log.error("the object store fails: {method}: {trouble}", method=request.method, trouble=trouble)
                kind = InDoubtError if in_doubt else errors.BackendUnavailable
                raise kind("The object store does not answer, or fails.", retry_after=30)
            await deferLater(self._clock, wait)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _corrects(self, refused: tuple[Answer, Refusal]) -> bool:
        """Whether a refusal says what was wrong, and the next attempt will be right."""
        answer, found = refused
        if found.code == "RequestTimeTooSkewed" or (answer.status == 403 and self._skew(answer) > _SKEW):
            return self.follow_clock(answer)
        if found.code in _WRONG_KEY:
            self._credentials.doubt()
            return True
        region = answer.header("x-amz-bucket-region") or found.region
        if found.code == "AuthorizationHeaderMalformed" and region and region != self._region:
            _log.warn("the bucket is in the region {region}; set it in [s3] region", region=printable(region))
            self._region = region
            return True
        return False

    def follow_clock(self, answer: Answer) -> bool:
        """Take the store's time for the right one, if it differs by much.  @return: Whether it was taken."""
        stated = http_time(answer.header("Date"))
        if stated is None or abs(stated - self.now()) <= _SKEW:
            return False
        self.offset = stated - self._clock.seconds()
        _log.warn("the clock of the object store differs by {seconds:.0f} seconds", seconds=self.offset)
        return True

    def _skew(self, answer: Answer) -> float:
        stated = http_time(answer.header("Date"))
        return 0.0 if stated is None else abs(stated - self.now())


def _refusal(request: Request, answer: object, accepted: tuple[int, ...]) -> tuple[Answer, Refusal] | None:
    """What an answer that is an error says."""
    if not isinstance(answer, Answer) or answer.status in accepted:
        return None
    found = None
    if 200 <= answer.status < 300:
        # What takes long has a status of success before it is carried out, and white space before the rest.
        if not request.is_long or (found := refusal(answer.body.strip())) is None:
            return None
        return attrs.evolve(answer, status=500), found
    if request.method != "HEAD":
        found = refusal(answer.body)
    return answer, found or Refusal("", "")


def _may_pass(status: int, code: str) -> bool:
    """Whether an error may be none the next time."""
    return code in _PASSING or (status >= 500 and status not in (501, 505, 507) and code not in _FULL)
