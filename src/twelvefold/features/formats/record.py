"""What the readers of feature files return, and how they report a record that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from twelvefold.config.extract import BoxFormat
from twelvefold.schema import Regions


class RecordError(ValueError):
    """The reason why a record cannot be used; the message does not name the record."""


class Problem(NamedTuple):
    """A record that was rejected, or a kept one with unusual content: its location, and a message."""

    location: str
    message: str

    def __str__(self) -> str:
        return f"{self.location}: {self.message}"


@dataclass(frozen=True, slots=True)
class FeatureRecord:
    """One record of a feature file.

    name: of the image, as written in the file. location: key, line and byte, or file name. position: pass it to
    ``records`` to continue after this record. num_steps: its share of ``FeatureFile.total``. digest: of its bytes.
    regions: None if the record cannot be used; ``error`` then says why. warnings: unusual content of a usable record.
    """

    name: str
    location: str
    position: str
    num_steps: int
    digest: str
    regions: Regions | None
    error: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How records are read. ``boxes``: None means the format's own. ``class_probs``: read class probabilities."""

    boxes: BoxFormat | None = None
    class_probs: bool = False


class FeatureFile(Protocol):
    """An open feature file.

    total: sum of ``num_steps`` over all records. unit: what a step is. identity: what must not change for an
    interrupted import to continue.
    """

    total: int
    unit: str
    identity: dict[str, str | int]

    def records(self, after: str = "") -> Iterator[FeatureRecord]:
        """Yield the records after the position ``after``, in the file's order."""

    def file_problems(self) -> list[Problem]:
        """Return problems of the file as a whole: it is truncated, or its index lists missing records."""
