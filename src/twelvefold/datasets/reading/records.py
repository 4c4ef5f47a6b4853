"""Reading the publishers' files record by record, so that a bad record is named and can be passed over.

A reader opens a :class:`Source` for each official file, takes its records one by one, and hands every example it
makes to :func:`checked`. A record that cannot be used is refused by name: task, file, record, what was expected
and what was there. A file that cannot be used (missing, truncated, not JSON) always stops the reading.
"""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from twelvefold.schema import Example, TwelvefoldError

T = TypeVar("T")

SHOWN = 160
"""So much of a record is shown when it is refused."""


class Refusal(NamedTuple):
    """A record that could not be used: of which task, in which file, which one, and why."""

    task: str
    file: Path
    record: str
    why: str

    def __str__(self) -> str:
        return f"{self.task}: {self.file}, {self.record}: {self.why}"


class BadRecordError(TwelvefoldError):
    """The first record that could not be used, where none may be skipped."""


@dataclass(slots=True)
class BadRecords:
    """What becomes of records that cannot be used: an error at the first, or with ``skip`` a list of them all."""

    skip: bool = False
    listed: list[Refusal] = field(default_factory=list)

    def add(self, refusal: Refusal) -> None:
        """Note a record that is left out.

        Raises:
            BadRecordError: records may not be skipped.
        """
        if not self.skip:
            raise BadRecordError(f"{refusal}. Mend the record, or go on without such records with --skip-bad.")
        self.listed.append(refusal)

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """How many were left out of each (task, file name)."""
        return Counter((refusal.task, refusal.file.name) for refusal in self.listed)


@dataclass(frozen=True, slots=True)
class Source:
    """One official file, read for one task."""

    task: str
    path: Path
    bad: BadRecords

    def refuse(self, record: str, why: str) -> None:
        """Leave a record out by name (see :meth:`BadRecords.add`)."""
        self.bad.add(Refusal(self.task, self.path, record, why))

    def items(self, name: str, kind: type[T]) -> Iterator[tuple[str, T]]:
        """The records of a JSON list under ``name`` of the outer object (``""``: the list is the file)."""
        for record, raw in self.raw_items(name):
            value = self.decode(record, raw, kind)
            if value is not None:
                yield record, value

    def raw_items(self, name: str) -> Iterator[tuple[str, msgspec.Raw]]:
        """As :meth:`items`, each record undecoded: a big file costs its bytes and little more."""
        if name:
            outer = self._whole(dict[str, msgspec.Raw])
            if name not in outer:
                found = ", ".join(outer) or "nothing"
                raise TwelvefoldError(f"{self.task}: {self.path}: expected an object with {name!r}, got {found}")
            records = self._typed(outer[name], list[msgspec.Raw], f"a list under {name!r}")
        else:
            records = self._whole(list[msgspec.Raw])
        for i, raw in enumerate(records):
            yield f"{name}[{i}]", raw

    def mapping(self) -> dict[str, msgspec.Raw]:
        """The records of a JSON object, undecoded, by their keys."""
        return self._whole(dict[str, msgspec.Raw])

    def several(self, record: str, raw: msgspec.Raw, kind: type[T]) -> Iterator[tuple[str, T]]:
        """The records of a list inside a record: decoded together, and one by one where one of them can't be used."""
        values: Sequence[T | None]
        try:
            values = msgspec.json.decode(raw, type=list[kind])  # type: ignore[valid-type]  # a type known at run time
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raws = self.decode(record, raw, list[msgspec.Raw]) or []
            values = [self.decode(f"{record}[{i}]", each, kind) for i, each in enumerate(raws)]
        for i, value in enumerate(values):
            if value is not None:
                yield f"{record}[{i}]", value

    def lines(self, kind: type[T]) -> Iterator[tuple[str, T]]:
        """The records of JSON lines, plain or gzipped; blank lines are no records, and a file without any is cut."""
        empty = True
        try:
            with gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb") as stream:
                for number, line in enumerate(stream, 1):
                    if line.isspace():
                        continue
                    empty = False
                    value = self.decode(f"line {number}", line, kind)
                    if value is not None:
                        yield f"line {number}", value
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise TwelvefoldError(f"{self.task}: {self.path} is truncated or no gzip file: {error}") from None
        if empty:
            raise TwelvefoldError(f"{self.task}: {self.path} is empty; expected a record on each line")

    def decode(self, record: str, raw: bytes | msgspec.Raw, kind: type[T]) -> T | None:
        """One record in its type, or None when it was refused and may be skipped."""
        try:
            return msgspec.json.decode(raw, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.refuse(record, f"{error}; got {bytes(raw)[:SHOWN].decode(errors='replace').strip()}")
            return None

    def convert(self, record: str, value: object, kind: type[T]) -> T | None:
        """As :meth:`decode`, of plain Python data (an unpickled record)."""
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            self.refuse(record, f"{error}; got {str(value)[:SHOWN]}")
            return None

    def _whole(self, kind: type[T]) -> T:
        return self._typed(self.path.read_bytes(), kind, "a list" if kind == list[msgspec.Raw] else "an object")

    def _typed(self, data: bytes | msgspec.Raw, kind: type[T], wanted: str) -> T:
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.ValidationError as error:
            raise TwelvefoldError(f"{self.task}: {self.path}: expected {wanted} of records: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TwelvefoldError(f"{self.task}: {self.path} is truncated or not JSON: {error}") from None


Row = tuple[Source, str, Example]
"""An example with the place it came from: file and record."""


def checked(rows: Iterable[Row], *, may_be_silent: bool = False) -> Iterator[Example]:
    """The examples whose id is new and whose texts say something; the rest are refused by name.

    ``may_be_silent``: a text may be empty (a GuessWhat game that was given up before the first question).
    """
    seen: set[str] = set()
    for source, record, example in rows:
        if example.id in seen:
            source.refuse(record, f"expected an id that is new, got {example.id!r} again")
        elif not may_be_silent and not all(pair.text.strip() for pair in example.pairs):
            source.refuse(record, "expected a text, got an empty one")
        else:
            seen.add(example.id)
            yield example


def present(task: str, wanted: Sequence[Sequence[Path]]) -> list[Path]:
    """For each official file the first of its accepted names that is there.

    Raises:
        TwelvefoldError: some file is missing under all its names; lists what is there beside it.
    """
    found: list[Path] = []
    for names in wanted:
        there = [path for path in names if path.exists()]
        if not there:
            raise TwelvefoldError(_missing(task, names))
        found.append(there[0])
    return found


def _missing(task: str, names: Sequence[Path]) -> str:
    folder = names[0].parent
    wanted = " or ".join(dict.fromkeys(str(path) for path in names))
    if not folder.is_dir():
        return f"{task}: expected the file {wanted}, but there is no folder {folder}"
    there = sorted(path.name for path in folder.iterdir())
    shown = ", ".join(there[:20]) + (f" and {len(there) - 20} more" if len(there) > 20 else "")
    return f"{task}: expected the file {wanted}, but {folder} holds {shown or 'nothing'}"


def split_tail(items: Sequence[T], tail: int, option: str) -> tuple[Sequence[T], Sequence[T]]:
    """``items`` without their last ``tail``, and those: a fold held out at the end of a sorted list.

    Raises:
        TwelvefoldError: there are fewer; ``option`` is what the caller's user set too high.
    """
    if not 0 <= tail <= len(items):
        raise TwelvefoldError(f"{option}={tail} can't be held out of {len(items)} questions; set {option} lower")
    cut = len(items) - tail
    return items[:cut], items[cut:]
