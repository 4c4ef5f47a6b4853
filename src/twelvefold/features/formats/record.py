"""What every reader of a foreign feature file gives, and how it says what could not be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from twelvefold.schema import Regions

Boxes = Literal["corners", "xywh", "unit"]
"""How a file writes boxes: corners in pixels; x, y, width, height in pixels; corners as shares of the picture.

The original project's own extraction script takes corners where its notes say x, y, width, height: files of given boxes
made after those notes hold the latter.
"""

Format = Literal["auto", "lmdb", "mmf", "tsv", "vinvl", "npy"]
"""MMF's files are LMDBs, and read as such: what a record holds tells its kind."""


class RecordError(ValueError):
    """Why a record can't be used, in words that follow its place."""


class Problem(NamedTuple):
    """A record that was left out, or something odd about one that was kept: where, and what."""

    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


@dataclass(frozen=True, slots=True)
class Record:
    """One record, as far as it could be read.

    name: of the picture, as the file writes it. where: key, line and byte, or file. after: hand it to ``records`` to
    go on behind this record. steps: how far it brings us of ``Source.total``. digest: of its bytes. regions: None where
    ``problem`` says why. notes: oddities that were let through.
    """

    name: str
    where: str
    after: str
    steps: int
    digest: str
    regions: Regions | None
    problem: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """How records are read. ``boxes``: None where the format decides. ``probabilities``: keep class probabilities."""

    boxes: Boxes | None = None
    probabilities: bool = False


class Source(Protocol):
    """A foreign feature file, open for reading.

    total: what the steps of all records add up to. unit: what a step is. identity: what must stay the same for an
    interrupted reading to go on.
    """

    total: int
    unit: str
    identity: dict[str, str | int]

    def records(self, after: str = "") -> Iterator[Record]:
        """Every record behind the one whose ``after`` this is, in the file's order."""

    def amiss(self) -> list[Problem]:
        """What is wrong with the file as a whole: cut short, an index that lists more than there is."""
