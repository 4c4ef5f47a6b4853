"""What came of an audit, for a program (JSON, CSV) and for a person (a table, sentences). Paper: Table 1."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from rich import box
from rich.table import Table

from twelvefold.duplicates.evidence import Gathered
from twelvefold.duplicates.image_groups import Identity
from twelvefold.leakage.overlap import LEARNT, Cell, Collection, Kind, Overlap
from twelvefold.leakage.text_overlap import TextCell
from twelvefold.reporting.percent import EVIDENCE, format_evidence, format_percent
from twelvefold.schema import Evidence, SameImageLink, Split

EXAMPLES = 3
"""Photographs named with each finding."""

ALIKE = 36
"""Most pairs of like pictures that are shown: a page of some 2 MB."""


SHOWN: tuple[Evidence, ...] = ("pixels", "looks", "features")
"""Evidence that a person can look at: files that differ and show the same."""


@dataclass(frozen=True, slots=True)
class Held:
    """A set, with the photographs and the texts of each split that it has."""

    name: str
    kind: Kind
    photographs: dict[Split, int]
    texts: dict[Split, int]


@dataclass(frozen=True, slots=True)
class Example:
    """A shared photograph: its name in the row, its name in the column, and the surest evidence."""

    key: str
    other: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Finding(Cell):
    """A cell that is not empty, in a sentence. ``is_leak``: above the threshold, and of a test set (or of a val set, if
    those were to count)."""

    is_leak: bool
    sentence: str
    examples: list[Example]


@dataclass(frozen=True, slots=True)
class Alike:
    """Two different files of one photograph, ``key`` in ``row``'s split, ``other`` in what ``column`` learns from;
    ``why``: the joins between them."""

    row: str
    column: str
    split: Split
    key: str
    other: str
    evidence: Evidence
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """``tests``, ``vals``: the matrices, cell by cell; ``texts``: text reuse; ``findings``: worst first, test sets
    before val sets; ``evidence``: what counted; ``alike``: pairs of pictures that are known by what they show;
    ``hidden``: what could not be known; ``unreadable``: pictures that could not be compared."""

    sets: list[Held]
    photographs: int
    threshold: float
    evidence: list[Evidence]
    tests: list[Cell]
    vals: list[Cell]
    texts: list[TextCell]
    findings: list[Finding]
    alike: list[Alike]
    left_out: dict[str, str]
    hidden: list[str]
    unreadable: dict[str, str]
    problems: list[str]

    @property
    def leaks(self) -> list[Finding]:
        """What makes a check fail."""
        return [finding for finding in self.findings if finding.is_leak]

    def table(self, split: Split = "test") -> Table:
        """The matrix as in Table 1: percent of the row's photographs that the column learns from; to print with
        rich. Nothing shared is a dot, so that a zero can't hide a few."""
        cells = {(cell.row, cell.column): cell for cell in (self.tests if split == "test" else self.vals)}
        columns = list(dict.fromkeys(column for _, column in cells))
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column(f"{split} set", no_wrap=True)
        for column in ("n", *columns):
            table.add_column(column, justify="right", overflow="fold", min_width=4)
        for row in dict.fromkeys(row for row, _ in cells):
            mine = [cells[row, column] for column in columns]
            table.add_row(row, f"{mine[0].total:,}", *(format_percent(cell.count, cell.total) for cell in mine))
        return table

    def csv(self) -> str:
        """All cells of both matrices, one a line, test sets with the texts that go with them."""
        texts = {(cell.row, cell.column): cell for cell in self.texts}
        names = ["row", "column", "split", "photographs", "shared", "percent", *(f"by_{kind}" for kind in EVIDENCE)]
        lines: list[list[object]] = [[*names, "texts", "texts_reused", "texts_with_same_picture"]]
        for cell in [*self.tests, *self.vals]:
            text = texts.get((cell.row, cell.column)) if cell.split == "test" else None
            said = ["", "", ""] if text is None else [text.total, text.reused, text.same_picture]
            by = [cell.by_evidence.get(kind, 0) for kind in EVIDENCE]
            about = [cell.row, cell.column, cell.split, cell.total, cell.count, f"{cell.percent:.4f}"]
            lines.append([*about, *by, *said])
        return as_csv(lines)


def as_csv(lines: Iterable[Sequence[object]]) -> str:
    """Lines of cells as CSV, the first of them the names."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


def compose(
    overlap: Overlap,
    collections: Sequence[Collection],
    found: Gathered,
    *,
    threshold: float,
    val: bool,
    evidence: Sequence[Evidence],
    left_out: Mapping[str, str],
    problems: Sequence[str],
) -> Report:
    """The report of an overlap. ``threshold``: percent of a test set (with ``val``: or val set) above which a cell is a
    leak."""

    def is_leak(cell: Cell) -> bool:
        return (val or cell.split == "test") and cell.percent > threshold

    texts = {(cell.row, cell.column): cell for cell in overlap.texts}
    has = {each.name: set(each.parts) for each in collections}
    findings = []
    for cell in (cell for cell in [*overlap.tests, *overlap.vals] if cell.count):
        learnt = [split for split in LEARNT[cell.split] if split in has[cell.column]]
        findings.append(_finding(overlap, cell, learnt, texts.get((cell.row, cell.column)), is_leak(cell)))
    findings.sort(key=lambda one: (one.split != "test", -one.percent, -one.count, one.row, one.column))
    return Report(
        sets=[_held(overlap, each) for each in collections],
        photographs=overlap.photographs,
        threshold=threshold,
        evidence=list(evidence),
        tests=overlap.tests,
        vals=overlap.vals,
        texts=overlap.texts,
        findings=findings,
        alike=_alike(overlap, findings, found.joins),
        left_out=dict(left_out),
        hidden=list(found.hidden),
        unreadable={str(key): reason for key, reason in sorted(found.unreadable.items())},
        problems=list(problems),
    )


def _held(overlap: Overlap, each: Collection) -> Held:
    photographs = {split: overlap.distinct(each.name, split) for split in each.parts}
    return Held(each.name, each.kind, photographs, {split: len(part.digests) for split, part in each.parts.items()})


def _finding(overlap: Overlap, cell: Cell, learnt: Sequence[Split], text: TextCell | None, is_leak: bool) -> Finding:
    sets = f"{' and '.join(learnt)} set{'s' if len(learnt) > 1 else ''}"
    sentence = (
        f"{cell.count:,} of {cell.total:,} {cell.split} photographs of {cell.row} "
        f"({format_percent(cell.count, cell.total)} %) "
        f"are in {f'its own {sets}' if cell.row == cell.column else f'the {sets} of {cell.column}'}: "
        f"{format_evidence(cell.by_evidence)}"
    )
    if cell.split == "test" and text is not None and text.same_picture:
        sentence += f"; {text.same_picture:,} of {text.total:,} texts are learnt there with the same photograph"
    shared = overlap.shared(cell.row, cell.column, cell.split, most=EXAMPLES)
    return Finding(
        **{field.name: getattr(cell, field.name) for field in fields(cell)},
        is_leak=is_leak,
        sentence=sentence,
        examples=[Example(str(one.key), str(one.other), one.evidence) for one in shared],
    )


def _alike(overlap: Overlap, findings: Iterable[Finding], joins: Iterable[SameImageLink]) -> list[Alike]:
    """Pairs that are joined by what they show, by turns from every finding, so that none fills the page."""
    by_show = {
        (cell.row, cell.column, cell.split)
        for cell in [*overlap.tests, *overlap.vals]
        if any(cell.by_evidence.get(kind) for kind in SHOWN)
    }
    if not by_show:
        return []
    identity, queues = Identity(joins), []
    for one in findings:
        at = (one.row, one.column, one.split)
        queues.append([(one, p) for p in overlap.shared(*at) if p.evidence in SHOWN] if at in by_show else [])
    shown: dict[frozenset[str], Alike] = {}
    for turn in range(max(map(len, queues), default=0)):
        for one, pair in (queue[turn] for queue in queues if turn < len(queue)):
            names = frozenset((str(pair.key), str(pair.other)))
            if len(shown) < ALIKE and names not in shown:
                steps = "; ".join(f"{join.reason} ({join.evidence})" for join in identity.why(pair.key, pair.other))
                keys = str(pair.key), str(pair.other)
                shown[names] = Alike(one.row, one.column, one.split, *keys, pair.evidence, steps)
    return list(shown.values())
