"""
What schemathesis loads for L{campaigns.described}, in its own process: where requests go, what counts as a failure of
the server, and the count of answers.

A request whose path is well formed goes to one of the ids and jobs that there are, more often than not: drawn at
random, it would never hit one.
"""

from __future__ import annotations

import atexit
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import schemathesis
from conformance import OTHERS
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.core.parameters import ParameterLocation

if TYPE_CHECKING:
    from schemathesis import Case, CheckContext, HookContext, Response

_GIVEN: dict[str, Any] = json.loads(os.environ["PACARCHIVE_DESCRIBED"])
"""C{file_id} and C{job}: those that there are; C{callers}: values of C{Authorization}; C{lacking}: paths and
the status that says that the storage cannot do it; C{counts}: where they go."""

_GIVEN["lacking"] = {tuple(each) for each in _GIVEN["lacking"]}
_EMPTY = re.compile("[?&][^=&]*=(?:&|$)")
_counts: Counter[str] = Counter()


def _drawn(case: Case[Any], salt: str) -> int:
    """A number that hangs on the request alone: what is found once is found again."""
    text = f"{salt} {case.method} {case.path} {case.path_parameters!r} {case.query!r} {case.headers!r}"
    return sum(number * ord(each) for number, each in enumerate(text, 1))


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Send a request where something is."""
    negative = case.meta is not None and case.meta.is_negative_at(ParameterLocation.PATH)
    for name in case.path_parameters or {}:
        if not negative and name in _GIVEN and _drawn(case, name) % 8:
            case.path_parameters[name] = _GIVEN[name][_drawn(case, name) % len(_GIVEN[name])]
    if _GIVEN["callers"]:
        case.headers["Authorization"] = _GIVEN["callers"][_drawn(case, "") % len(_GIVEN["callers"])]


@schemathesis.check
def no_failure(context: CheckContext, response: Response, case: Case[Any]) -> None:
    """
    A server that is well has no other 5xx than 503, and says when to come again; but HPSS does not list its files.
    """
    _counts[f"{case.method} {response.status_code}"] += 1
    if response.status_code >= 500 and (case.path, response.status_code) not in _GIVEN["lacking"]:
        assert response.status_code == 503, f"it answered {response.status_code}"
        assert "retry-after" in response.headers, "a 503 without Retry-After"


@schemathesis.check
def allowed(context: CheckContext, response: Response, case: Case[Any]) -> None:
    """C{Allow} has the methods that are described for the path, wherever it is the answer to what may be done there."""
    if (case.method == "OPTIONS" and response.status_code == 204) or response.status_code == 405:
        item = case.operation.schema.raw_schema["paths"][case.path]
        described = {each.upper() for each in item if each != OTHERS} | set(item.get(OTHERS, ()))
        answered = set(response.headers["allow"][0].split(", "))
        assert answered == described, f"Allow has {sorted(answered)}, and described are {sorted(described)}"


@schemathesis.hook
def filter_failure(context: HookContext, failure: Exception, case: Case[Any], response: Response) -> bool:
    """OPTIONS tells of the form of a URL, and looks at nothing; a parameter that is empty is none."""
    if not isinstance(failure, AcceptedNegativeData):
        return True
    return case.method != "OPTIONS" and not _EMPTY.search(str(response.request.url))


@atexit.register
def _tell() -> None:
    Path(_GIVEN["counts"]).write_text(json.dumps(_counts))
