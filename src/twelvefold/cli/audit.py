"""The commands ``twelvefold audit ...``: what is shared, and why two names are one photograph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console

from twelvefold.cli.output import Json, out_console, say
from twelvefold.schema import Evidence, ImageKey

if TYPE_CHECKING:
    from twelvefold.leakage.audit import Material
    from twelvefold.leakage.report import Report

app = App(name="audit")

SENTENCES, NOTES = 20, 5
"""Leaks printed, and other things of each kind; the JSON has all."""

WIDTH = 120
"""Of tables in a log, where no terminal says its own."""

Data = Annotated[Path | None, Parameter(help="A data folder with any of the twelve; none for sets of your own alone.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Looked:
    """What is looked at."""

    tasks: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")] = ()
    "Some tasks, which must then be there; otherwise all that are."
    collections: Path | None = None
    "A TOML or JSON file of own, pretraining and detector sets."
    own: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    "NAME:SPLIT=PATH, a folder of pictures or a list; NAME@SOURCE:SPLIT=PATH where the ids are of that source."
    pretraining: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    "NAME=PATH: what a network was pretrained on."
    detector: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    "NAME=PATH: what a detector was trained on."
    prepared: Path | None = None
    "What `twelvefold prepare` left: audit its tables."
    evidence: Annotated[tuple[Evidence, ...], Parameter(consume_multiple=True, negative="")] = ()
    "What counts: ids bytes pixels looks features; the first four where left out, or what --prepared was cleaned by."
    regions: Path | None = None
    "What `twelvefold extract` left, for evidence by features."
    notes: Path | None = None
    "Folder that remembers compared pictures; among your caches where left out."
    skip_bad: Annotated[bool, Parameter(negative="")] = False
    "List malformed records and go on."
    processes: int = 1
    "Processes that read tasks and compare pictures."

    def collect(self, data: Path | None) -> Material:
        from twelvefold.leakage.audit import collect
        from twelvefold.leakage.custom_sets import from_flags

        own = [*from_flags(self.own, "own"), *from_flags(self.pretraining, "pretraining")]
        return collect(
            data,
            tasks=self.tasks,
            collections=self.collections,
            own=[*own, *from_flags(self.detector, "detector")],
            prepared=self.prepared,
            kinds=self.evidence or None,
            regions=self.regions,
            notes=self.notes,
            skip_bad=self.skip_bad,
            processes=self.processes,
        )


NOTHING = Looked()


@app.default
def audit(
    data: Data = None,
    *,
    looked: Looked = NOTHING,
    threshold: float = 0.0,
    val: Annotated[bool, Parameter(negative="")] = False,
    csv: Path | None = None,
    html: Path | None = None,
    listing: Path | None = None,
    json: Json = False,
) -> int:
    """Count, for every test set, how many of its photographs are in every train and val set (the paper's Table 1).

    ```
    twelvefold audit data/world
    twelvefold audit data/world --prepared prepared/world
    twelvefold audit --own cats:train=cats/train --own cats:test=cats/test --html audit.html
    ```

    Exit code 1 where a leak is above the threshold, a picture could not be read, or a malformed record was left out.

    Parameters
    ----------
    threshold
        Percent of a test set that may leak.
    val
        Count val photographs in train sets as leaks too.
    csv
        File for both matrices, a line for each cell.
    html
        File for a page to read, with the pictures that look alike.
    listing
        CSV file for every shared photograph, with both its names and the evidence.
    """
    from twelvefold.leakage.audit import audit as work
    from twelvefold.leakage.overlap import LEARNT
    from twelvefold.store import atomic_files

    done = work(looked.collect(data), threshold=threshold, val=val)
    if csv is not None:
        atomic_files.write_text(csv, done.report.csv())
    if html is not None:
        atomic_files.write_text(html, done.page())
    if listing is not None:
        atomic_files.write_text(listing, done.listing())
    if not json:
        console = out_console if out_console.is_terminal else Console(width=WIDTH)
        for split, learnt in LEARNT.items():
            table = done.report.table(split)
            if table.row_count:
                console.print(
                    f"Percent of {split} photographs (rows) in {' and '.join(learnt)} (columns)", highlight=False
                )
                console.print(table)
    say(done.report, json, "\n".join(_lines(done.report)))
    return 1 if done.report.leaks or done.report.unreadable or done.report.problems else 0


@app.command
def why(one: str, other: str, data: Data = None, *, looked: Looked = NOTHING, json: Json = False) -> int:
    """Show what makes two names one photograph: the chain of joins with their evidence, and the sets that hold each.

    ```
    twelvefold audit why coco/391895 vg/2318324 data/world
    ```

    Exit code 1 where they are not known to be one.

    Parameters
    ----------
    one
        A name such as coco/391895.
    other
        Another.
    """
    from twelvefold.leakage.audit import why as work

    keys = ImageKey.parse(one), ImageKey.parse(other)
    found = work(looked.collect(data), *keys)
    say(found, json, str(found))
    return 0 if found.same else 1


def _lines(report: Report) -> list[str]:
    leaks, rest = report.leaks, [finding for finding in report.findings if not finding.is_leak]
    lines = [f"Leaks above {report.threshold:g} %: {len(leaks)}" if leaks else "No leak found."]
    lines += _some([f"- {finding.sentence}" for finding in leaks], SENTENCES)
    for title, sentences in (
        ("Not counted as leaks", [finding.sentence for finding in rest]),
        ("Left out", [f"{name}: {reason}" for name, reason in report.left_out.items()]),
        ("Could not be known", report.hidden),
        ("Could not be read", [f"{key}: {reason}" for key, reason in report.unreadable.items()]),
        ("Malformed records left out", report.problems),
    ):
        if sentences:
            lines += ["", f"{title}:", *_some([f"- {sentence}" for sentence in sentences], NOTES)]
    return lines


def _some(lines: list[str], most: int) -> list[str]:
    return lines if len(lines) <= most else [*lines[:most], f"  and {len(lines) - most} more; --json has all"]
