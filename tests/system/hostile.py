"""Requests that mean harm: targets that are no ids, and sources of moves that are not the archive's."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import attrs

from pacarchive.ids import parse_file_id

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

METHODS = [b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"PATCH", b"PROPFIND"]

WORDS = [
    *[
        "..",
        ".",
        "...",
        "",
        "%2e%2e",
        "%2E.",
        ".%2e",
        "..%2f..",
        "%2f",
        "%2F..",
        "%5c..",
        "..\\..",
        "%252e%252e",
        "..;",
    ],
    *["etc", "passwd", "etc/passwd", "proc/self/fd/0", "proc/self/root/etc/passwd", "dev/zero", "dev/stdin"],
    *[".pacarchive", ".pacarchive/tmp", ".pacarchive/locks/00", "file.1", "39/3039", "d2", "canary", "archive"],
    *[
        "007",
        "00",
        "-0",
        "-1",
        "+1",
        "1_0",
        "0x10",
        "1e3",
        "1.0",
        "1,2",
        "1;a",
        "%31%32",
        "1%00",
        "1%20",
        "%201",
        "1%0a",
    ],
    *["18446744073709551616", "9" * 40, "9" * 5000, "\u0661\u0662", "\uff11\uff12", "\u00b2", "\u2460", "\u202e21"],
    *[
        "12345",
        "0",
        "a",
        "~root",
        "$HOME",
        "`id`",
        "|id",
        "<x>",
        '"',
        "'",
        "{1}",
        "[1]",
        "1:2",
        "C:",
        "@",
        "*",
        "&",
        "\x7f",
    ],
]
RAW = [
    b"\xff\xfe",
    b"\xc0\xaf",
    b"\xc0\xae\xc0\xae",
    b"\x01",
    b"\x1b[2J",
    b"\t1",
    b"\x0b1",
    b"\xe2\x80\xae1",
    b"\xed\xa0\x80",
]
FORBIDDEN = [b"\0", b" ", b"\r", b"\n", b"x" * 9000]
"""What ends a connection: after it nobody knows where the next request begins."""

STARTS = [b"/"] * 12 + [
    b"//",
    b"///",
    b"/./",
    b"/../",
    b"",
    b"\\",
    b"http://a/",
    b"HTTPS://a:1/",
    b"http://u@a/",
    b"ftp://a/",
]
TAILS = [b""] * 8 + [b"/", b"//", b"/..", b"?", b"?byte_range=0-9", b"?../../etc", b"#1", b"%", b"%0"]


def hostile_target(rng: random.Random) -> bytes:
    """The target of a request that is not a file id."""
    while True:
        words = [
            rng.choice(RAW) if rng.random() < 0.02 else rng.choice(WORDS).encode() for _ in range(rng.randint(1, 5))
        ]
        separator = rng.choice([b"/", b"/", b"/", b"%2f", b"%2F", b"\\", b"//", b""])
        target = rng.choice(STARTS) + separator.join(words) + rng.choice(TAILS)
        if len(target) < 8000 and b" " not in target and not names_something(target):
            return target


def names_something(target: bytes) -> bool:
    """Whether it is a file id or the root after all, as the contract has it: not to be sent here."""
    path = re.sub(rb"\Ahttps?://[^/?#]*", b"", target, flags=re.IGNORECASE).partition(b"?")[0]
    if path and not path.startswith(b"/"):
        return False
    try:
        parse_file_id(path.lstrip(b"/").decode("latin-1"))
    except ValueError:
        return not path.strip(b"/")
    return True


@attrs.frozen
class Request:
    """A whole request, and whether its answer has a body."""

    data: bytes
    has_body: bool


def hostile_requests(rng: random.Random, count: int) -> Iterator[Request]:
    """Requests whose targets are no ids."""
    for _ in range(count):
        method, target = rng.choice(METHODS), hostile_target(rng)
        if rng.random() < 0.02:
            place = rng.randrange(1, len(target) + 1)
            target = target[:place] + rng.choice(FORBIDDEN) + target[place:]
        body = b"12345678" if method in (b"PUT", b"PATCH") else b""
        head = b"%b %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % (method, target, len(body))
        yield Request(head + b"Content-Type: application/json\r\n\r\n" + body, method != b"HEAD")


def hostile_sources(rng: random.Random, prefix: str, outside: str) -> Iterator[object]:
    """What a PATCH asks to move: never a regular file below the prefix."""
    inside = ["", "/", "/.", "/..", "/../canary", "/directory", "/directory/..", "/pipe", "/out", "/out/canary"]
    inside += ["/loop", "/out_file", "/directory/out_file", "/zero", "/fd0", "/top/etc/passwd", "/.pacarchive"]
    inside += ["/.pacarchive/locks/00", "/.pacarchive/tmp", "/directory/../.pacarchive/locks/00", "/archive", "/none"]
    inside += ["/55/..", "/55/x", "/\ud800", "/\udcff", "/a\0b", "/" + "x" * 300, "/y" * 30]
    bases = [prefix, prefix + "/", prefix + "/directory/..", outside + "/back", "/proc/self/cwd/archive"]
    fixed = [
        "/",
        "//",
        "/etc/passwd",
        "//etc/passwd",
        "/dev/zero",
        "/dev/stdin",
        "/dev/null",
        "/dev/fd/0",
        "/proc/self/mem",
    ]
    fixed += [*(f"/proc/self/fd/{number}" for number in range(12)), "/proc/self/exe", "/proc/self/root/etc/passwd"]
    fixed += ["/proc/self/fd/6/../canary", "/proc/self/fd/6/.pacarchive/locks/00", "/proc/thread-self/environ"]
    fixed += [f"{outside}/canary", f"{prefix}x/canary", "canary", "../canary", "archive/55", "./55", "~/x", "\0", "/\0"]
    fixed += ["file:///etc/passwd", f"{prefix}\0/55", " " + prefix, "\ud800", "/" + "../" * 30 + "etc/passwd"]
    others = [None, 7, 1e400, True, [], {}, [prefix + "/55"], {"path": prefix + "/55"}]
    while True:
        choice = rng.random()
        if choice < 0.5:
            yield rng.choice(bases) + rng.choice(inside)
        elif choice < 0.9:
            source = rng.choice(fixed)
            yield source + rng.choice(["", "", "/", "/.", "/..", "/../.."])
        elif choice < 0.95:
            yield rng.choice(others)
        elif choice < 0.999:
            yield "/" + "/".join(rng.choice(WORDS)[:99] for _ in range(rng.randint(1, 12)))
        else:  # seldom: each component is looked up
            yield rng.choice([prefix + "/y" * 3000, "/" + "../" * 2000 + "etc/passwd", "/" + "9" * 5000])


def hostile_moves(rng: random.Random, count: int, prefix: str, outside: str) -> Iterator[Request]:
    """PATCH requests to good ids, free and taken ones, with sources that must not be touched."""
    sources = hostile_sources(rng, prefix, outside)
    for _ in range(count):
        body = json.dumps({"path": next(sources)}).encode()
        head = b"PATCH /%d HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        yield Request(head % (rng.choice([55, 56, 57]), len(body)) + body, True)


def furnish(prefix: Path, outside: Path) -> None:
    """What an attacker could hope for: ways out of the archive, and things that are no regular files."""
    (prefix / "directory").mkdir()
    os.mkfifo(prefix / "pipe")
    links: dict[str, str | Path] = {
        "out": outside,
        "out_file": outside / "canary",
        "directory/out_file": outside / "canary",
        "loop": "loop",
    }
    links |= {"zero": "/dev/zero", "fd0": "/proc/self/fd/0", "top": "/proc/self/root"}
    for name, target in links.items():
        (prefix / name).symlink_to(target)
    (outside / "back").symlink_to(prefix)
