"""The page of an audit: who learns from whose test pictures, as a heat map, and pictures that look alike.

It is made from the JSON of the audit, so that the two can't differ. Paper: Table 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from twelvefold.reporting.percent import format_percent
from twelvefold.reporting.template import render_template
from twelvefold.reporting.thumbnails import Thumbnail, Thumbnails
from twelvefold.schema import ImageKey

COLUMNS: Mapping[str, str] = {
    "task": "Tasks",
    "own": "Your own",
    "pretraining": "Pretraining",
    "detector": "Detector",
}

FAINTEST = 14.0
"""Percent of full colour that the smallest share has: one leaked photograph must be seen."""

FIRST = 12
"""Findings that stand open; the rest unfold."""


@dataclass(frozen=True, slots=True)
class Shade:
    """One cell: what it says (``text`` and, smaller, ``count``), how dark it is, in percent, and why, in a sentence
    that shows when it is pointed at. ``sentence`` is empty where nothing is shared."""

    text: str
    count: str
    heat: float
    sentence: str
    is_own: bool

    @classmethod
    def of(cls, row: str, column: str, part: int, whole: int, count: str, sentence: str) -> Shade:
        heat = FAINTEST + (100.0 - FAINTEST) * part / whole if part else 0.0
        return cls(format_percent(part, whole), count, round(heat, 1), sentence, row == column)


@dataclass(frozen=True, slots=True)
class HeatMap:
    """``groups``: the columns, by kind; ``rows``: name, how many there are of it, and a cell for each column."""

    groups: list[tuple[str, list[str]]]
    rows: list[tuple[str, int, list[Shade]]]


@dataclass(frozen=True, slots=True)
class AlikePair:
    """Two pictures of one photograph, and where each is."""

    row: Thumbnail
    column: Thumbnail
    why: str


def render(report: Mapping[str, Any], thumbnails: Thumbnails) -> str:
    """The page as HTML. ``report``: what the audit writes as JSON; ``thumbnails``: the pictures, by key."""
    sentences = {(one["row"], one["column"], one["split"]): one["sentence"] for one in report["findings"]}
    kinds = {held["name"]: held["kind"] for held in report["sets"]}
    return render_template(
        "audit.html.jinja",
        {"count": lambda number: f"{number:,}"},
        report=report,
        leaks=[one for one in report["findings"] if one["is_leak"]],
        others=[one for one in report["findings"] if not one["is_leak"]],
        first=FIRST,
        tests=_pictured(report["tests"], kinds, sentences),
        vals=_pictured(report["vals"], kinds, sentences),
        texts=_texts(report["texts"], kinds),
        alike=[_alike(pair, thumbnails) for pair in report["alike"]],
        kinds=COLUMNS,
    )


def _pictured(
    cells: Sequence[Mapping[str, Any]], kinds: Mapping[str, str], sentences: Mapping[tuple[str, str, str], str]
) -> HeatMap:
    def shade(cell: Mapping[str, Any]) -> Shade:
        sentence = sentences.get((cell["row"], cell["column"], cell["split"]), "")
        count = f"{cell['count']:,}" if cell["count"] else ""
        return Shade.of(cell["row"], cell["column"], cell["count"], cell["total"], count, sentence)

    return _map(cells, kinds, [shade(cell) for cell in cells])


def _texts(cells: Sequence[Mapping[str, Any]], kinds: Mapping[str, str]) -> HeatMap:
    def shade(cell: Mapping[str, Any]) -> Shade:
        same, reused, total = cell["same_picture"], cell["reused"], cell["total"]
        where = "its own training texts" if cell["row"] == cell["column"] else f"training texts of {cell['column']}"
        sentence = (
            f"{reused:,} of {total:,} test texts of {cell['row']} are among {where}, "
            f"{same:,} of them with the same photograph"
        )
        count = f"{format_percent(reused, total)} %" if reused else ""
        return Shade.of(cell["row"], cell["column"], same, total, count, sentence if reused else "")

    return _map(cells, kinds, [shade(cell) for cell in cells])


def _map(cells: Sequence[Mapping[str, Any]], kinds: Mapping[str, str], shades: Sequence[Shade]) -> HeatMap:
    columns = sorted(dict.fromkeys(cell["column"] for cell in cells), key=lambda name: list(COLUMNS).index(kinds[name]))
    found = {(cell["row"], cell["column"]): shade for cell, shade in zip(cells, shades, strict=True)}
    totals = {cell["row"]: cell["total"] for cell in cells}
    return HeatMap(
        groups=[(COLUMNS[kind], list(names)) for kind, names in groupby(columns, lambda name: kinds[name])],
        rows=[(row, total, [found[row, column] for column in columns]) for row, total in totals.items()],
    )


def _alike(pair: Mapping[str, Any], thumbnails: Thumbnails) -> AlikePair:
    learnt = "train or val" if pair["split"] == "test" else "train"
    key, other = (ImageKey.parse(pair[name]) for name in ("key", "other"))
    return AlikePair(
        thumbnails.make(key, f"{key}, of {pair['row']}", caption=f"{key}: {pair['row']}, {pair['split']}"),
        thumbnails.make(other, f"{other}, of {pair['column']}", caption=f"{other}: {pair['column']}, {learnt}"),
        pair["why"],
    )
