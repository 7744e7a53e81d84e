"""Digests in headers and trailers, both ways."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.digests import ALGORITHMS, Hasher
from pacarchive.errors import InvalidRequest
from pacarchive.web.http.digest_fields import (
    announced_fields,
    digest,
    expected_digests,
    repr_digest,
    repr_digest_field,
    trailer_algorithms,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def digests_of(data: bytes) -> dict[str, bytes]:
    hasher = Hasher(ALGORITHMS)
    hasher.update(data)
    return hasher.digests()


HELLO = b'{"hello": "world"}\n'
DIGESTS = digests_of(HELLO)
# RFC 9530, appendix B.1.
HELLO_SHA_256 = "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="
MD5, SHA_256 = (base64.b64encode(DIGESTS[name]).decode("ascii") for name in ("md5", "sha256"))
SHA_512 = base64.b64encode(DIGESTS["sha512"]).decode("ascii")


def getter(**headers: str | list[str]) -> Callable[[str], list[str]]:
    """Headers by their names in lower case, underscores for hyphens."""

    def get(name: str) -> list[str]:
        value = headers.get(name.lower().replace("-", "_"), [])
        return [value] if isinstance(value, str) else value

    return get


def expected(**headers: str | list[str]) -> dict[str, bytes]:
    return expected_digests(getter(**headers))


def test_nothing_given() -> None:
    """Without a digest nothing is checked."""
    assert expected() == {}


def test_content_md5() -> None:
    """The example of RFC 1864's header, for our bytes."""
    assert expected(content_md5=MD5) == {"md5": hashlib.md5(HELLO).digest()}


def test_rfc_3230() -> None:
    """All algorithms of the registry that we compute, in any case, with and without blanks."""
    value = f"SHA-256={SHA_256}, sha-512={SHA_512},Sha={base64.b64encode(DIGESTS['sha1']).decode()} ,md5={MD5}"
    assert expected(digest=[value, f"ADLER32={DIGESTS['adler32'].hex()}"]) == DIGESTS


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("sha256", "sha256"), ("SHA256", "sha256"), ("Sha-256", "sha256"), ("sha512", "sha512"), ("SHA-512", "sha512"),
        ("sha-1", "sha1"), ("SHA1", "sha1"), ("sha", "sha1"), ("MD5", "md5"),
    ],
)  # fmt: skip
def test_spellings(name: str, algorithm: str) -> None:
    """What senders write for the registered names; of RFC 9530's fields, as far as they may be written there."""
    value = base64.b64encode(DIGESTS[algorithm]).decode("ascii")
    assert expected(digest=f"{name}={value}") == {algorithm: DIGESTS[algorithm]}
    with pytest.raises(InvalidRequest):
        expected(digest=f"{name}={value[1:]}")
    key = name.lower()
    for field in ("content_digest", "repr_digest"):
        assert expected(**{field: f"{key}=:{value}:"}) == {algorithm: DIGESTS[algorithm]}
        with pytest.raises(InvalidRequest):
            expected(**{field: f"{key}={value}"})
    assert repr_digest(DIGESTS, [f"{key}=1"]) == f"{key}=:{value}:"
    assert digest(DIGESTS, [name]) == f"{name}={value}"


@pytest.mark.parametrize(
    "value", [f"sha-256 ={SHA_256}", f"sha-256:{SHA_256}", "sha-256", SHA_256, f'"md5"={MD5}', "md5;x"]
)
def test_what_might_be_a_digest(value: str) -> None:
    """Nobody is left to believe that it was checked."""
    with pytest.raises(InvalidRequest):
        expected(digest=f"unixsum=30637, {value},")
    assert expected(digest=f"unixsum=30637, , id-sha-256={SHA_256},") == {}


@pytest.mark.parametrize(
    ("text", "value"), [("03da0195", 0x03DA0195), ("3da0195", 0x03DA0195), ("3DA0195", 0x03DA0195), ("1", 1)]
)
def test_adler32(text: str, value: int) -> None:
    """adler32 is hexadecimal, and zeros in front may be missing."""
    assert expected(digest=f"adler32={text}") == {"adler32": value.to_bytes(4, "big")}


def test_rfc_9530() -> None:
    """The RFC's example, parameters and all."""
    assert expected(content_digest=f"sha-256=:{HELLO_SHA_256}:") == {"sha256": hashlib.sha256(HELLO).digest()}
    assert expected(repr_digest=f"sha-512=:{SHA_512}:;x=1 , sha-256=:{SHA_256}:;y") == {
        "sha512": DIGESTS["sha512"],
        "sha256": DIGESTS["sha256"],
    }


def test_rfc_9530_deprecated() -> None:
    """The deprecated names of the registry are checked as well."""
    adler = base64.b64encode(zlib.adler32(HELLO).to_bytes(4, "big")).decode()
    sha = base64.b64encode(DIGESTS["sha1"]).decode()
    assert expected(repr_digest=f"md5=:{MD5}:, sha=:{sha}:, adler=:{adler}:") == {
        name: DIGESTS[name] for name in ("md5", "sha1", "adler32")
    }


@pytest.mark.parametrize(
    "headers",
    [
        {"digest": "crc32c=abcdef,unixsum=30637,id-sha-256=zzz,nonsense"},
        {"digest": ""},
        {"repr_digest": ""},
        {"repr_digest": "crc32c=:qrvM:, unixsum=:AA==:"},
        {"repr_digest": 'a="sha-256=:AA==:, b", c=(1 "x, y" :AA==:);q="z,", d, e;f=1, g=?1, h=1.5, i=tok/en:x, *j=@1'},
        {"repr_digest": "sha-256x=:AA==:"},
    ],
)
def test_unknown_algorithms_are_ignored(headers: dict[str, str | list[str]]) -> None:
    """What is not known is passed over, however its value is written."""
    assert expected(**headers) == {}


def test_known_among_unknown() -> None:
    """An unknown neighbour does not hide a known algorithm."""
    assert expected(repr_digest=f'a="x, y", sha-256=:{SHA_256}:, b=(1 2)') == {"sha256": DIGESTS["sha256"]}
    assert expected(digest=f"unixsum=30637,md5={MD5},crc=1") == {"md5": DIGESTS["md5"]}


def test_missing_padding() -> None:
    """Base64 without its padding is read (RFC 9651, section 4.2.7)."""
    assert expected(repr_digest=f"sha-256=:{SHA_256.rstrip('=')}:") == {"sha256": DIGESTS["sha256"]}


@pytest.mark.parametrize(
    "headers",
    [
        {"content_md5": ""},
        {"content_md5": "x"},
        {"content_md5": DIGESTS["md5"].hex()},
        {"content_md5": SHA_256},
        {"content_md5": f"{MD5} x"},
        {"content_md5": "\xe9" * 22},
        {"digest": "md5"},
        {"digest": "md5="},
        {"digest": f"sha-256={DIGESTS['sha256'].hex()}"},
        {"digest": f"sha-256={MD5}"},
        {"digest": f"sha-256=:{SHA_256}:"},
        {"digest": f"sha-256={SHA_256.replace('/', '_')}"},
        {"digest": "adler32="},
        {"digest": "adler32=123456789"},
        {"digest": "adler32=0x1234"},
        {"digest": "adler32=A9oBlQ=="},
        {"digest": "adler32=\u0661"},
        {"repr_digest": "sha-256"},
        {"repr_digest": f"sha-256={SHA_256}"},
        {"repr_digest": f"sha-256=:{SHA_256}"},
        {"repr_digest": f"sha-256=:{MD5}:"},
        {"repr_digest": "sha-256=::"},
        {"repr_digest": "sha-256=:@@@@:"},
        {"repr_digest": f'sha-256="{SHA_256}"'},
        {"repr_digest": f"sha-256=(:{SHA_256}:)"},
        {"repr_digest": f"SHA-256=:{SHA_256}:"},
        {"repr_digest": f"sha-256=:{SHA_256}: sha-512=:{SHA_512}:"},
        {"repr_digest": '"'},
        {"content_digest": "="},
    ],
)
def test_malformed_digests_are_refused(headers: dict[str, str | list[str]]) -> None:
    """A digest that cannot be checked is refused, rather than passed over as if it had been."""
    with pytest.raises(InvalidRequest):
        expected(**headers)


def test_nonsense_is_refused_in_one_pass() -> None:
    """Long nonsense does not make the parser go back and forth."""
    for text in ("a=(" * 50_000, 'a="\\' * 50_000, "a;" * 50_000, "a," * 50_000 + "=", "a=" + ":" * 100_000):
        with pytest.raises(InvalidRequest):
            expected(repr_digest=text)


def test_two_values_must_agree() -> None:
    """One digest may be given in several ways, two different ones for one algorithm may not."""
    assert expected(content_md5=[MD5, MD5], digest=f"md5={MD5}", repr_digest=f"md5=:{MD5}:") == {"md5": DIGESTS["md5"]}
    other = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    with pytest.raises(InvalidRequest, match="two different md5"):
        expected(content_md5=MD5, digest=f"md5={other}")
    with pytest.raises(InvalidRequest, match="two different md5"):
        expected(digest=f"md5={MD5},MD5={other}")


@given(st.text())
def test_text_never_breaks_the_parser(text: str) -> None:
    """Whatever is sent gives digests of the right length or an L{InvalidRequest}."""
    for field in ("content_md5", "digest", "repr_digest"):
        try:
            result = expected(**{field: text})
        except InvalidRequest:
            continue
        assert all(len(value) == len(DIGESTS[name]) for name, value in result.items())


@pytest.mark.parametrize(
    ("values", "algorithms"),
    [
        ([], set()),
        (["X-Checksum"], set()),
        (["Content-MD5"], {"md5"}),
        (["digest"], {"md5", "sha1", "sha256", "sha512", "adler32"}),
        (["Repr-Digest"], {"sha256", "sha512"}),
        (["X-Other, CONTENT-DIGEST"], {"sha256", "sha512"}),
        (["Content-MD5 ,Repr-Digest"], {"md5", "sha256", "sha512"}),
        (["Content-MD5", "Repr-Digest"], {"md5", "sha256", "sha512"}),
    ],
)
def test_trailer_algorithms(values: list[str], algorithms: set[str]) -> None:
    """An announced trailer says what must be computed."""
    assert trailer_algorithms(announced_fields(values)) == algorithms


def test_repr_digest_of_every_answer() -> None:
    """The field of the RFC's example."""
    assert repr_digest_field(DIGESTS) == f"sha-256=:{HELLO_SHA_256}:"


@pytest.mark.parametrize(
    ("want", "answer"),
    [
        ([], None),
        ([""], None),
        (["sha-256=1"], ["sha-256"]),
        (["sha-256=10"], ["sha-256"]),
        (["sha-512=3, sha-256=10, unixsum=0"], ["sha-256", "sha-512"]),
        (["sha-256=3", "sha-512=9"], ["sha-512", "sha-256"]),
        (["sha-256=0"], None),
        (["sha-256=11"], None),
        (["sha-256=-1"], None),
        (["sha-256=1.5"], None),
        (["sha-256"], None),
        (["sha-256=1, sha-256=0"], None),
        (["crc32c=10"], None),
        (["nonsense ="], None),
        (["nonsense =", "sha-256=1"], ["sha-256"]),
        (["adler=1, md5=2, sha=3"], ["sha", "md5", "adler"]),
    ],
)
def test_want_repr_digest(want: list[str], answer: list[str] | None) -> None:
    """Wanted digests are given, the best liked first, and 0 is not wanted."""
    names = {"sha-256": "sha256", "sha-512": "sha512", "sha": "sha1", "md5": "md5", "adler": "adler32"}
    field = answer and ", ".join(f"{name}=:{base64.b64encode(DIGESTS[names[name]]).decode()}:" for name in answer)
    assert repr_digest(DIGESTS, want) == field


def test_only_known_digests_are_given() -> None:
    """What was never computed is left out."""
    known = {"sha256": DIGESTS["sha256"]}
    assert repr_digest(known, ["sha-512=10, sha-256=1"]) == f"sha-256=:{SHA_256}:"
    assert repr_digest(known, ["sha-512=10"]) is None
    assert digest(known, ["SHA-512;q=1, SHA-256;q=1, SHA;q=0.1"]) == f"SHA-256={SHA_256}"
    assert digest(known, ["md5"]) is None
    assert digest({}, ["sha-256"]) is None


@pytest.mark.parametrize(
    ("want", "answer"),
    [
        ([], None),
        ([""], None),
        (["ADLER32"], f"ADLER32={DIGESTS['adler32'].hex()}"),
        (["adler32,md5"], f"adler32={DIGESTS['adler32'].hex()},md5={MD5}"),
        (["SHA-512;q=1, SHA-256;q=1"], f"SHA-512={SHA_512},SHA-256={SHA_256}"),
        (["md5;q=0.3, Sha-256;q=1"], f"Sha-256={SHA_256},md5={MD5}"),
        (["md5 ; q=0.3", "sha-256"], f"sha-256={SHA_256},md5={MD5}"),
        (["md5;q=0, sha-256;q=0.0"], None),
        (["md5;q=2, sha-256;q=x, adler32;level=1"], None),
        (["crc32c, contentMD5, sha-256"], f"sha-256={SHA_256}"),
        (["md5, MD5"], f"md5={MD5}"),
        (["md5\r\nX: y"], None),
    ],
)
def test_want_digest(want: list[str], answer: str | None) -> None:
    """Names are spelled as asked, values joined without a blank, the best liked first."""
    assert digest(DIGESTS, want) == answer


def test_adler32_has_eight_digits() -> None:
    """Zeros in front are written."""
    assert digest({"adler32": b"\x00\x00\x00\x01"}, ["adler32"]) == "adler32=00000001"


@given(st.binary(max_size=64), st.permutations(["sha-256", "SHA-512", "Sha", "md5", "ADLER32"]))
def test_digest_is_read_back(data: bytes, names: list[str]) -> None:
    """What C{Want-Digest} is answered is what C{Digest} takes."""
    field = digest(digests_of(data), names)
    assert field is not None
    assert expected(digest=field) == digests_of(data)
    assert [element.partition("=")[0] for element in field.split(",")] == names


@given(st.binary(max_size=64), st.permutations(["sha-256", "sha-512", "sha", "md5", "adler"]))
def test_repr_digest_is_read_back(data: bytes, names: list[str]) -> None:
    """What C{Want-Repr-Digest} is answered is what C{Repr-Digest} and C{Content-Digest} take."""
    field = repr_digest(digests_of(data), [f"{name}={10 - index}" for index, name in enumerate(names)])
    assert field is not None
    assert expected(repr_digest=field) == expected(content_digest=field) == digests_of(data)
    assert [member.partition("=")[0] for member in field.split(", ")] == names


@given(st.lists(st.text()))
def test_wishes_never_break(want: list[str]) -> None:
    """No wish is an error."""
    digest(DIGESTS, want)
    repr_digest(DIGESTS, want)
