"""Read the publishers' files record by record, so that a bad record is named and can be skipped.

A dataset's reader opens a :class:`RecordReader` for each official file, converts its records to examples, and passes
these through :func:`validated`. A record that cannot be used is rejected with its task, file, record name, and what was
expected and found. A file that cannot be used (missing, truncated, not JSON) always raises an error.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from twelvefold.parsing.bounds import MAX_SHOWN, short_repr
from twelvefold.parsing.file_kind import check_file_kind
from twelvefold.parsing.json_text import (
    KEY_MARK,
    JsonError,
    check_unique_keys,
    describe_error,
    mark_invalid,
)
from twelvefold.parsing.text import MAX_LINE_BYTES, MAX_TEXT_LENGTH, iter_lines, read_bytes, to_utf8
from twelvefold.schema import Example, TwelvefoldError

T = TypeVar("T")


class _Key:
    """A key of a JSON object. Every key differs from every other, so a key that occurs twice is not lost."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _make_key(_: type, text: str) -> _Key:
    return _Key(text)


_Entries = dict[_Key, msgspec.Raw]


class Rejection(NamedTuple):
    """A record that could not be used, and why."""

    task: str
    file: Path
    record: str
    reason: str

    def __str__(self) -> str:
        return f"{self.task}: {self.file}, {self.record}: {self.reason}"


SKIP_ADVICE = ". Correct the record, or leave such records out with --skip-bad."
"""The end of a :class:`BadRecordError`."""


class BadRecordError(TwelvefoldError):
    """A record that could not be used, where bad records may not be skipped."""


class InvalidRecordError(Exception):
    """A record that is no valid example. The message says what was expected and what the record has."""


@dataclass(slots=True)
class BadRecords:
    """What to do with records that cannot be used: raise at the first, or with ``skip`` collect them in
    ``rejected``. Records that are used although they are unusual are counted in ``noted``."""

    skip: bool = False
    rejected: list[Rejection] = field(default_factory=list)
    noted: dict[tuple[str, Path, str], tuple[int, str]] = field(default_factory=dict)
    """By task, file and description: the number of records, and the first."""

    def add(self, rejection: Rejection) -> None:
        """Note a record that is left out.

        Raises:
            BadRecordError: records may not be skipped.
        """
        if not self.skip:
            raise BadRecordError(f"{rejection}{SKIP_ADVICE}")
        self.rejected.append(rejection)

    def extend(self, other: BadRecords) -> None:
        """Add what another reading of records rejected and noted."""
        self.rejected += other.rejected
        for key, (count, first) in other.noted.items():
            count_before, first_before = self.noted.get(key, (0, first))
            self.noted[key] = count_before + count, first_before

    def notes(self) -> list[str]:
        """Return a sentence for each kind of unusual record that is used."""
        return [
            f"{task}: {file}: {count:,} {description}, such as {first}"
            for (task, file, description), (count, first) in self.noted.items()
        ]


@dataclass(frozen=True, slots=True)
class RecordReader:
    """Reads the records of one official file for one task; bad records go to ``bad``."""

    task: str
    path: Path
    bad: BadRecords

    def reject(self, record: str, reason: str) -> None:
        """Leave a record out by name (see :meth:`BadRecords.add`)."""
        self.bad.add(Rejection(self.task, self.path, record, reason))

    def note(self, record: str, description: str) -> None:
        """Count a record that is used although it is unusual. ``description``: what such records are, in the plural."""
        key = self.task, self.path, description
        count, first = self.bad.noted.get(key, (0, record))
        self.bad.noted[key] = count + 1, first

    def items(self, name: str, record_type: type[T]) -> Iterator[tuple[str, T]]:
        """Yield the records of the JSON list at key ``name`` of the file's object, with their record names.

        ``name=""``: the file itself is the list.
        """
        for record, raw in self.raw_items(name):
            value = self.decode(record, raw, record_type)
            if value is not None:
                yield record, value

    def raw_items(self, name: str) -> Iterator[tuple[str, msgspec.Raw]]:
        """Yield as :meth:`items` does, without decoding: memory holds the file's bytes and an index of records."""
        if name:
            outer = self._decode_file(_Entries, "an object")
            values = [raw for key, raw in outer.items() if key.text == name]
            if not values:
                keys = ", ".join(short_repr(key.text).strip("'") for key in islice(outer, 20)) or "nothing"
                raise TwelvefoldError(f"{self.task}: {self.path}: expected an object with {name!r}, got {keys}")
            if len(values) > 1:
                raise TwelvefoldError(f"{self.task}: {self.path}: expected {name!r} once, got it {len(values)} times")
            records = self._decode(values[0], list[msgspec.Raw], f"a list at {name!r}")
        else:
            records = self._decode_file(list[msgspec.Raw], "a list")
        for i, raw in enumerate(records):
            yield f"{name}[{i}]", raw

    def mapping(self) -> dict[str, msgspec.Raw]:
        """Return the undecoded values of the file's JSON object by key; a key that occurs again is rejected."""
        values: dict[str, msgspec.Raw] = {}
        for key, raw in self._decode_file(_Entries, "an object").items():
            record = f"[{short_repr(key.text)}]"
            if KEY_MARK in key.text:
                self.reject(record, "expected a key of whole characters, got half of a surrogate pair")
            elif key.text in values:
                self.reject(record, "expected every key once, got this one again; the first is used")
            else:
                values[key.text] = raw
        return values

    def nested_items(self, record: str, raw: msgspec.Raw, record_type: type[T]) -> Iterator[tuple[str, T]]:
        """Yield the records of a list inside a record; a bad one is rejected alone."""
        for i, value in enumerate(self.nested_values(record, raw, record_type)):
            if value is not None:
                yield f"{record}[{i}]", value

    def nested_values(self, record: str, raw: msgspec.Raw, record_type: type[T]) -> Sequence[T | None]:
        """Return the records of a list inside a record, None for each that was rejected.

        They are decoded together, which is fast, or one by one if one of them is bad.
        """
        try:
            values: Sequence[T] = msgspec.json.decode(raw, type=list[record_type])  # type: ignore[valid-type]
            check_unique_keys(raw)
        except JsonError:
            raws = self.decode(record, raw, list[msgspec.Raw]) or []
            return [self.decode(f"{record}[{i}]", each, record_type) for i, each in enumerate(raws)]
        return values

    def rows(self, records: Iterable[tuple[str, T]], make_example: Callable[[T], Example]) -> Iterator[Row]:
        """Yield an example for each named record; reject those of which ``make_example`` raises InvalidRecordError."""
        for record, value in records:
            try:
                example = make_example(value)
            except InvalidRecordError as error:
                self.reject(record, str(error))
            else:
                yield self, record, example

    def lines(self, record_type: type[T]) -> Iterator[tuple[str, T]]:
        """Yield the records of JSON lines, plain or gzipped. Blank lines are ignored; a file without records is an
        error."""
        is_empty = True
        try:
            check_file_kind(self.path)
            with gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb") as stream:
                for number, line in enumerate(iter_lines(stream), 1):
                    if line.isspace() and len(line) <= MAX_LINE_BYTES:
                        continue
                    is_empty = False
                    value = self.decode(f"line {number}", line, record_type)
                    if value is not None:
                        yield f"line {number}", value
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise TwelvefoldError(f"{self.task}: {self.path} is truncated or not a gzip file: {error}") from None
        except (OSError, UnicodeError) as error:
            raise TwelvefoldError(f"{self.task}: {self.path} cannot be read as lines of text: {error}") from None
        if is_empty:
            raise TwelvefoldError(f"{self.task}: {self.path} is empty; expected a record on each line")

    def decode(self, record: str, raw: bytes | msgspec.Raw, record_type: type[T]) -> T | None:
        """Return one JSON record in its type, or None if it was rejected.

        Parts that the type leaves undecoded (``msgspec.Raw``) are not checked here: a bad one can be rejected alone.
        """
        try:
            if len(memoryview(raw)) > MAX_LINE_BYTES:
                raise ValueError(f"expected at most {MAX_LINE_BYTES:,} bytes in a record")
            value = msgspec.json.decode(raw, type=record_type)
            check_unique_keys(_without_parts(raw, value))
        except JsonError as error:
            start = bytes(memoryview(raw)[: 2 * MAX_SHOWN]).strip().decode(errors="replace")[:MAX_SHOWN]
            self.reject(record, f"{describe_error(error, raw)}; got {start}")
            return None
        return value

    def convert(self, record: str, value: object, record_type: type[T]) -> T | None:
        """Return one record of unpickled data in its type, or None if it was rejected. Arrays count as lists."""
        try:
            try:
                converted = msgspec.convert(value, record_type)
            except msgspec.ValidationError:
                converted = msgspec.convert(arrays_to_lists(value), record_type)
            msgspec.json.encode(converted)  # half of a surrogate pair cannot be stored
        except (msgspec.ValidationError, UnicodeError, RecursionError) as error:
            self.reject(record, f"{error}; got {short_repr(value)}")
            return None
        return converted

    def _decode_file(self, outer_type: type[T], description: str) -> T:
        """Decode the outermost level of the file. If it holds NaN or half characters, their records stay readable as
        bytes but cannot be decoded (:func:`mark_invalid`)."""
        data = read_bytes(self.path)
        try:
            data = to_utf8(data)
            return msgspec.json.decode(data, type=outer_type, dec_hook=_make_key)
        except msgspec.ValidationError as error:
            raise TwelvefoldError(f"{self.task}: {self.path}: expected {description} of records: {error}") from None
        except JsonError as error:
            marked = None if isinstance(error, RecursionError) else mark_invalid(data)
            if marked is not None:
                return self._decode(marked, outer_type, description)
            reason = describe_error(error, data)
            raise TwelvefoldError(f"{self.task}: {self.path} is truncated or not JSON: {reason}") from None

    def _decode(self, data: bytes | msgspec.Raw, outer_type: type[T], description: str) -> T:
        try:
            return msgspec.json.decode(data, type=outer_type, dec_hook=_make_key)
        except msgspec.ValidationError as error:
            raise TwelvefoldError(f"{self.task}: {self.path}: expected {description} of records: {error}") from None
        except JsonError as error:
            reason = describe_error(error, data)
            raise TwelvefoldError(f"{self.task}: {self.path} is truncated or not JSON: {reason}") from None


def _without_parts(raw: bytes | msgspec.Raw, value: object) -> bytes | msgspec.Raw:
    """Return a record's JSON without the parts that its decoded value leaves undecoded."""
    fields = [getattr(value, name) for name in getattr(value, "__struct_fields__", ())]
    parts = [part for part in (value if isinstance(value, list) else fields) if isinstance(part, msgspec.Raw)]
    if not parts:
        return raw
    data = bytes(raw)
    for part in parts:
        data = data.replace(bytes(part), b"null", 1)
    return data


def arrays_to_lists(value: Any) -> Any:
    """Return unpickled data with NumPy arrays as lists: files that were saved again often have arrays in their
    records."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: arrays_to_lists(item) for key, item in value.items()}
    return [arrays_to_lists(item) for item in value] if isinstance(value, list | tuple) else value


Row = tuple[RecordReader, str, Example]
"""An example with the reader and the name of the record that it comes from."""


def validated(rows: Iterable[Row], *, allow_empty_text: bool = False) -> Iterator[Example]:
    """Yield the examples with a new id and texts that are neither empty nor too long; reject the others.

    ``allow_empty_text``: accept empty texts (a GuessWhat game that was abandoned before the first question).
    """
    ids: set[str] = set()
    for reader, record, example in rows:
        if example.id in ids:
            reader.reject(record, f"expected an id that is new, got {example.id!r} again")
        elif any(len(pair.text) > MAX_TEXT_LENGTH for pair in example.pairs):
            length = max(len(pair.text) for pair in example.pairs)
            reader.reject(record, f"expected a text of at most {MAX_TEXT_LENGTH:,} characters, got {length:,}")
        elif not allow_empty_text and not all(pair.text.strip() for pair in example.pairs):
            reader.reject(record, "expected a text, got an empty one")
        else:
            ids.add(example.id)
            yield example


def require_files(task: str, names: Sequence[Sequence[Path]]) -> list[Path]:
    """Return, for each file, the first of its accepted names that exists.

    Raises:
        TwelvefoldError: a file exists under none of its names; lists what its folder holds.
    """
    paths: list[Path] = []
    for alternatives in names:
        existing = [path for path in alternatives if path.exists()]
        if not existing:
            raise TwelvefoldError(_missing_file_error(task, alternatives))
        paths.append(existing[0])
    return paths


def _missing_file_error(task: str, alternatives: Sequence[Path]) -> str:
    folder = alternatives[0].parent
    expected = " or ".join(dict.fromkeys(str(path) for path in alternatives))
    if not folder.is_dir():
        return f"{task}: expected the file {expected}, but there is no folder {folder}"
    names = sorted(path.name for path in folder.iterdir())
    content = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return f"{task}: expected the file {expected}, but {folder} holds {content or 'nothing'}"


def split_tail(items: Sequence[T], tail: int, option: str) -> tuple[Sequence[T], Sequence[T]]:
    """Split a sorted list into all but its last ``tail`` items, and these items: a held-out split.

    Raises:
        TwelvefoldError: there are fewer items; ``option`` is the reader option that is set too high.
    """
    if not items and tail:
        raise TwelvefoldError("no question can be used: expected a file of questions in the publisher's layout")
    if not 0 <= tail <= len(items):
        raise TwelvefoldError(f"{option}={tail} cannot be held out of {len(items)} questions; set {option} lower")
    cut = len(items) - tail
    return items[:cut], items[cut:]
