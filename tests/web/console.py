"""What the tests of the console share: a browser without a script, and pages read as such a one reads them."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import attrs
from support import Answer, Server

VOID = {"input", "link", "meta", "br"}


@attrs.define
class Element:
    """An element of a page."""

    name: str
    attributes: dict[str, str]
    children: list[Any] = attrs.field(factory=list)

    @property
    def text(self) -> str:
        """All of its text."""
        return "".join(each if isinstance(each, str) else each.text for each in self.children)

    def all(self, kind: str, /, **wanted: str) -> list[Element]:
        """All elements of a name below it."""
        found = []
        for each in self.children:
            if isinstance(each, Element):
                if each.name == kind and wanted.items() <= each.attributes.items():
                    found.append(each)
                found += each.all(kind, **wanted)
        return found

    def one(self, kind: str, /, **wanted: str) -> Element:
        """The only one."""
        (found,) = self.all(kind, **wanted)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.top = Element("", {})
        self._open = [self.top]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop().name == tag, f"{tag} is not what was open"

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def read_page(html: str) -> Element:
    """Read a page, or a part of one, that is well formed."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.top


class Browser:
    """
    A browser that runs no script.

    @param fields: Header fields that it sends with everything.
    """

    def __init__(self, server: Server, *fields: str, host: str = "192.0.2.1") -> None:
        self.server = server
        self.fields = fields
        self.host = host
        self.cookies: dict[str, str] = {}
        self.answer: Answer | None = None

    def get(self, path: str, status: int = 200) -> Element:
        """Go to a page."""
        answer = self.ask("GET", path)
        assert answer.status == status, answer.body
        assert answer.field("Content-Type") == "text/html; charset=utf-8"
        return read_page(answer.body.decode())

    def ask(self, method: str, path: str, *fields: str, body: bytes | None = None) -> Answer:
        """Send what a browser sends, and keep the cookies of the answer."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        more = (f"Cookie: {cookies}",) if cookies else ()
        client = self.server.connect(self.host)
        self.answer = answer = client.ask(method, path, *self.fields, *more, *fields, body=body)
        client.hang_up()
        for cookie in answer.all("Set-Cookie"):
            pair, *rest = cookie.split("; ")
            assert {"Path=/", "HttpOnly", "SameSite=Strict"} <= set(rest)
            name, _, value = pair.partition("=")
            self.cookies.pop(name, None)
            if "Max-Age=0" not in rest:
                self.cookies[name] = value
        return answer

    def submit(self, form: Element, *fields: str, **values: str) -> Answer:
        """
        Send a form.

        @param values: What is filled in; each must be a field of the form.
        """
        filled = [each.attributes["name"] for kind in ("input", "select") for each in form.all(kind)
                  if "name" in each.attributes and each.attributes.get("type") != "checkbox"]  # fmt: skip
        assert len(filled) == len(set(filled)), "a form has no two fields of one name"
        given = {each.attributes["name"]: each.attributes.get("value", "") for each in form.all("input")
                 if "name" in each.attributes and each.attributes.get("type") != "checkbox"}  # fmt: skip
        names = {each.attributes.get("name") for kind in ("input", "select") for each in form.all(kind)}
        assert values.keys() <= names
        body = urlencode({**given, **values}).encode()
        kind = "Content-Type: application/x-www-form-urlencoded"
        return self.ask("POST", form.attributes["action"], kind, *fields, body=body)

    def follow(self) -> Element:
        """Go where the last answer leads to."""
        assert self.answer is not None
        assert self.answer.status == 303, self.answer.body
        where = self.answer.field("Location")
        assert where is not None
        return self.get(where)


# what pages say


def rows(page: Element, panel: str) -> list[list[str]]:
    """What the table of a panel has, row by row and without its heading."""
    (section,) = page.all("section", **{"aria-labelledby": panel})
    cells = [[*row.all("th", scope="row"), *row.all("td")] for row in section.one("tbody").all("tr")]
    return [[" ".join(cell.text.split()) for cell in row] for row in cells]


def said_in(page: Element, panel: str) -> str:
    """What a panel says."""
    (section,) = page.all("section", **{"aria-labelledby": panel})
    return " ".join(section.text.split())


def pages_of(page: Element) -> dict[str, str]:
    """The links to other pages of a list, and where they lead."""
    found = [nav for nav in page.all("nav") if nav.attributes.get("aria-label", "").startswith("Pages of")]
    return {each.text: each.attributes["href"] for nav in found for each in nav.all("a")}


def forms(page: Element) -> list[str]:
    """What a page lets its viewer do."""
    return sorted({each.attributes["action"] for each in page.one("main").all("form", method="post")})
