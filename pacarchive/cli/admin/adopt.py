"""C{pacarchive admin adopt}: report on a predecessor's tree, before or after it is taken over."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import attrs

from pacarchive.backends.local.layout import SPREAD, layout_of
from pacarchive.backends.local.walk import Walk
from pacarchive.cli import exits
from pacarchive.cli.admin.archive import root_of, settings_of, tree_of
from pacarchive.cli.admin.findings import KINDS, Finding
from pacarchive.cli.admin.survey import Survey
from pacarchive.cli.printing import print_json, size_words
from pacarchive.cli.progress import Display
from pacarchive.settings.reading import ConfigError
from pacarchive.texts import counted, printable

if TYPE_CHECKING:
    import argparse

    from pacarchive.backends.local.layout import Layout
    from pacarchive.cli.admin.survey import Totals
    from pacarchive.settings.sections import Settings

_WIDTH = 80


def run(arguments: argparse.Namespace) -> int:
    """Run the command.  @return: The exit code."""
    settings = settings_of(arguments)
    if settings.server.type == "s3":
        from pacarchive.cli.admin.adopt_objects import run as adopt_objects

        return adopt_objects(settings, arguments)
    if arguments.source or arguments.map or arguments.move:
        raise ConfigError("admin adopt", "--from, --map and --move are for object stores; a tree is only looked at")
    tree = tree_of(settings)
    if tree is None:
        message = (
            f"this looks at trees of files (posix, hsmsideband); an archive of type {settings.server.type} is none"
        )
        raise ConfigError("admin adopt", message)
    report = _Report(examples=arguments.examples, as_json=arguments.json)
    display = Display("looking", counts_bytes=False)
    with root_of(tree) as root, display.shown():
        survey = Survey(root, layout := layout_of(tree), report.add)
        _count(root, display)
        for path in survey.run():
            display.add(files=1)
            found = _needing(report.attention, "that ")
            display.look(f"{counted(display.files, 'name')}, {found}, at {printable(path)}")
    if arguments.json:
        print_json({"summary": _summary(settings, layout, survey.totals, report)})
    else:
        sys.stdout.write(_text(settings, layout, survey.totals, report))
    return exits.FAILED if report.attention else exits.OK


def _count(root: int, display: Display) -> None:
    if display.draws:
        for _ in Walk(root, lambda name: True, lambda path, error: None):
            display.add(files=1)
        display.begin_with(display.files)


@attrs.define
class _Report:
    """
    Counts of the findings, with examples, so that the report on a tree of any size stays short.

    @ivar examples: How many findings of each kind are kept as examples.
    @ivar as_json: Print each finding at once, as JSON.
    @ivar attention: The count of findings that need attention.
    @ivar counts: The counts of findings, by kind.
    @ivar kept: The examples, by kind.
    """

    examples: int
    as_json: bool
    attention: int = 0
    counts: dict[str, int] = attrs.field(factory=dict)
    kept: dict[str, list[Finding]] = attrs.field(factory=dict)

    def add(self, finding: Finding) -> None:
        """Add a finding."""
        self.counts[finding.kind] = self.counts.get(finding.kind, 0) + 1
        needs_attention = KINDS[finding.kind].needs_attention
        self.attention += needs_attention
        if self.as_json:
            print_json({"finding": finding.kind, "needs_attention": needs_attention, **_place(finding)})
            return
        kept = self.kept.setdefault(finding.kind, [])
        if len(kept) < self.examples:
            kept.append(finding)


def _place(finding: Finding) -> dict[str, str]:
    return {name: value for name, value in (("path", finding.path), ("detail", finding.detail)) if value}


def _summary(settings: Settings, layout: Layout, totals: Totals, report: _Report) -> dict[str, object]:
    return {
        "type": settings.server.type,
        "prefix": str(settings.server.prefix),
        "use_id2filename": layout is SPREAD,
        **attrs.asdict(totals),
        "findings": report.counts,
        "needs_attention": report.attention,
    }


def _needing(findings: int, that: str = "") -> str:
    return f"{counted(findings, 'finding')} {that}{'needs' if findings == 1 else 'need'} attention"


def _text(settings: Settings, layout: Layout, totals: Totals, report: _Report) -> str:
    size, names = (
        size_words(totals.bytes),
        f"{totals.flat} flat (12345), {totals.id2filename} by id2filename (39/3039)",
    )
    directories = "1 directory" if totals.directories == 1 else f"{totals.directories:,} directories"
    lines = [
        f"{settings.server.type} archive {printable(str(settings.server.prefix))}",
        f"  {counted(totals.files, 'file')}, {size} ({counted(totals.bytes, 'byte')}); {directories}",
        f"  {totals.digested:,} {'has' if totals.digested == 1 else 'have'} a digest",
        f"  names: {names}: {_verdict(layout, totals)}",
        f"  room: {size_words(totals.free_bytes)}{_inodes(totals)}",
    ]
    for heading, needs_attention in (("Needs attention", True), ("Good to know", False)):
        some = [
            kind for kind, what in KINDS.items() if what.needs_attention is needs_attention and kind in report.counts
        ]
        if some:
            lines += ["", f"{heading}:"]
            for kind in some:
                lines += _finding_lines(kind, report)
    lines += ["", f"{_needing(report.attention)}." if report.attention else "Nothing needs attention."]
    return "".join(f"{line}\n" for line in lines)


def _finding_lines(kind: str, report: _Report) -> list[str]:
    from textwrap import wrap

    count, what, kept = report.counts[kind], KINDS[kind], report.kept[kind]
    concerns_files = any(each.path for each in kept)
    lines = ["", f"  {what.title}: {count}" if concerns_files else f"  {what.title}"]
    lines += wrap(what.advice, _WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    for each in kept:
        parts = [printable(part) for part in (each.path, each.detail) if part]
        if parts:
            lines.append(f"      {': '.join(parts)}")
    if len(kept) < count:
        lines.append(f"      and {count - len(kept)} more")
    return lines


def _verdict(layout: Layout, totals: Totals) -> str:
    mine, other = (totals.id2filename, totals.flat) if layout is SPREAD else (totals.flat, totals.id2filename)
    setting = f"use_id2filename = {'true' if layout is SPREAD else 'false'}"
    if not other:
        return f"{setting} fits" if mine else f"{setting}; no name tells whether that fits"
    if not mine:
        return f"{setting} DOES NOT FIT"
    return f"{setting} fits {mine} of {mine + other}"


def _inodes(totals: Totals) -> str:
    return f", {counted(totals.free_inodes, 'more file')}" if totals.free_inodes >= 0 else ""
