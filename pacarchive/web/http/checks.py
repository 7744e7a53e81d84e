"""What a sender asks to have checked of its body, before it and behind it.

A sender that asks for a check must not believe that one was made.  So what cannot be checked is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import attrs

from pacarchive import errors
from pacarchive.digests import PRIMARY, Digests, Hasher
from pacarchive.web.http.digest_fields import announced_fields, expected_digests, trailer_algorithms


@attrs.frozen
class Checks:
    """
    The checks of one body.

    @ivar given: The digests that came before the body.
    @ivar announced: The fields with digests that are to come behind it, in small letters.
    """

    given: Digests
    announced: Collection[str] = ()

    @property
    def algorithms(self) -> frozenset[str]:
        """What must be computed while the body passes."""
        given = frozenset(self.given)
        return given.union(trailer_algorithms(self.announced)) if self.announced else given

    def complete(self, trailers: Collection[tuple[str, str]]) -> Digests:
        """
        All that is to be compared with the body.

        @param trailers: The trailer fields that came.
        @return: Digests by algorithm.
        @raise errors.InvalidRequest: One that was announced has not come; or one came that contradicts another, or
            that nobody can compare any more.
        """
        if not (trailers or self.announced):
            return self.given
        fields: dict[str, list[str]] = {}
        for name, value in trailers:
            fields.setdefault(name, []).append(value)
        if missing := sorted(set(self.announced) - fields.keys()):
            raise errors.InvalidRequest(
                f"The body was to be checked against the trailer {missing[0]}, which has not come."
            )
        behind = expected_digests(lambda name: fields.get(name.lower(), []))
        if unchecked := behind.keys() - {PRIMARY, *self.algorithms}:
            raise errors.InvalidRequest(
                f"A digest ({', '.join(sorted(unchecked))}) came as a trailer that the Trailer field had not announced,"
                " or in a field that has none of this kind."
            )
        for name in self.given.keys() & behind.keys():
            if self.given[name] != behind[name]:
                raise errors.InvalidRequest(f"Two different {name} digests are given, before the body and after it.")
        return {**self.given, **behind}

    def compare(self, content: bytes, trailers: Collection[tuple[str, str]]) -> None:
        """
        Make them, of a body that is in memory.

        @raise errors.DigestMismatch: It is not what was sent.
        @raise errors.InvalidRequest: As L{complete}.
        """
        if expected := self.complete(trailers):
            hasher = Hasher(expected)
            hasher.update(content)
            for name, digest in hasher.digests().items():
                if expected[name] != digest:
                    raise errors.DigestMismatch(f"The {name} digest of the body is {digest.hex()}.")


def read_checks(get: Callable[[str], Sequence[str]], length: int | None) -> Checks:
    """
    Gather what is asked for before a body.

    @param get: All values of a header field by its name; empty when it is absent.
    @param length: The body's, where it is known: only one in chunks has trailers.
    @raise errors.InvalidRequest: It cannot be checked.
    """
    announced = announced_fields(get("Trailer"))
    if announced and length is not None:
        raise errors.InvalidRequest(
            f"A body with a Content-Length has no trailers, so that it could not be checked against {min(announced)}."
        )
    return Checks(expected_digests(get), announced)
