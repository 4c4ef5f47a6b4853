"""What the readers of feature files return, and how they report a record that cannot be used."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from twelvefold.config.extract import ImportConfig
from twelvefold.schema import Regions


class RecordError(ValueError):
    """The reason why a record cannot be used; the message does not name the record."""


class Problem(NamedTuple):
    """A record that was rejected, or a kept one with unusual content: its location, and a message."""

    location: str
    message: str

    def __str__(self) -> str:
        return f"{self.location}: {self.message}"


RegionsWithWarnings = tuple[Regions, tuple[str, ...]]
"""Regions, and warnings about unusual content."""


@dataclass(frozen=True, slots=True)
class FeatureRecord:
    """One record of a feature file.

    name: of the image, as written in the file. location: key, line and byte, or file name. position: pass it to
    ``records`` to continue after this record. digest: of its bytes. result: an error if the record cannot be used.
    num_steps: its share of ``FeatureFile.total``.
    """

    name: str
    location: str
    position: str
    digest: str
    result: RegionsWithWarnings | Exception
    num_steps: int = 1


class FeatureFile(ABC):
    """An open feature file.

    total: sum of ``num_steps`` over all records. unit: what a step is. identity: what must not change for an
    interrupted import to continue.
    """

    unit = "images"

    def __init__(self, path: Path, config: ImportConfig) -> None:
        self._path = path
        self._config = config
        self.total = 0
        self.identity: dict[str, str | int] = {}

    @abstractmethod
    def records(self, after: str = "") -> Iterator[FeatureRecord]:
        """Yield the records after the position ``after``, in the file's order."""

    def file_problems(self) -> list[Problem]:
        """Return problems of the file as a whole: it is truncated, or its index lists missing records."""
        return []
