"""Reading record by record: what is read, what is refused and how it is named, and pickles that may not be trusted."""

from __future__ import annotations

import gzip
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from twelvefold.datasets.reading.records import BadRecordError, BadRecords, Source, present, split_tail
from twelvefold.datasets.reading.safe_pickle import load_plain
from twelvefold.schema import TwelvefoldError


class Item(msgspec.Struct):
    n: int
    name: str = ""


def source(path: Path, data: bytes, *, skip: bool = False) -> Source:
    path.write_bytes(data)
    return Source("pets", path, BadRecords(skip=skip))


def test_a_refusal_names_task_file_record_what_was_expected_and_what_was_there(tmp_path: Path) -> None:
    pets = source(tmp_path / "pets.json", b'{"pets": [{"n": 1}, {"n": "two"}]}')
    with pytest.raises(BadRecordError) as error:
        list(pets.items("pets", Item))
    for part in ("pets: ", str(pets.path), "pets[1]", "`int`", "`str`", '{"n": "two"}'):
        assert part in str(error.value)


def test_skipped_records_are_listed_and_counted_and_reading_goes_on(tmp_path: Path) -> None:
    pets = source(tmp_path / "pets.json", b'[{"n": 1}, {"n": 2, "name": "\xff"}, {"n": 3}, {"m": 4}]', skip=True)
    assert [item.n for _, item in pets.items("", Item)] == [1, 3]
    assert [refusal.record for refusal in pets.bad.listed] == ["[1]", "[3]"]
    assert pets.bad.counts == {("pets", "pets.json"): 2}


def test_a_bad_record_in_a_list_inside_a_record_leaves_its_neighbours(tmp_path: Path) -> None:
    inner = {
        "good": b'[{"n": 1}, {"n": 2}]',
        "one bad": b'[{"n": 1}, {"m": 2}, {"n": 3}]',
        "no list": b'{"n": 1}',
    }
    pets, read = source(tmp_path / "pets.json", b"", skip=True), {}
    for name, raw in inner.items():
        read[name] = [(record, item.n) for record, item in pets.several(name, msgspec.Raw(raw), Item)]
    assert read == {"good": [("good[0]", 1), ("good[1]", 2)], "one bad": [("one bad[0]", 1), ("one bad[2]", 3)]} | {
        "no list": []
    }
    assert [refusal.record for refusal in pets.bad.listed] == ["one bad[1]", "no list"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"pets": [{"n": 1}', "truncated or not JSON"),
        (b"", "truncated or not JSON"),
        (b"\x1f\x8b binary", "truncated or not JSON"),
        (b'{"other": []}', "expected an object with 'pets', got other"),
        (b'{"pets": {"n": 1}}', "a list under 'pets'"),
        (b"[]", "an object"),
    ],
)
def test_a_file_that_is_no_such_file_always_stops_the_reading(tmp_path: Path, data: bytes, why: str) -> None:
    pets = source(tmp_path / "pets.json", data, skip=True)
    with pytest.raises(TwelvefoldError, match=why) as error:
        list(pets.items("pets", Item))
    assert str(pets.path) in str(error.value)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_json_lines_plain_or_gzipped(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    name = "pets.jsonl" if pack is bytes else "pets.jsonl.gz"
    pets = source(tmp_path / name, pack(b'{"n": 1}\n\nnonsense\n{"n": NaN}\n{"n": 4}'), skip=True)
    assert [(record, item.n) for record, item in pets.lines(Item)] == [("line 1", 1), ("line 5", 4)]
    assert [refusal.record for refusal in pets.bad.listed] == ["line 3", "line 4"]


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-12], lambda d: b"no gzip at all", lambda d: d[:40] + b"xxxx" + d[44:]]
)
def test_a_damaged_gzip_file_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    lines = b"".join(b'{"n": %d}\n' % (i * i * i) for i in range(500))
    pets = source(tmp_path / "pets.jsonl.gz", damage(gzip.compress(lines)))
    with pytest.raises(TwelvefoldError, match=r"pets\.jsonl\.gz"):
        list(pets.lines(Item))


def test_the_first_name_that_is_there_counts_and_a_missing_one_lists_all_names(tmp_path: Path) -> None:
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    old.touch()
    assert present("pets", [[new, old]]) == [old]
    new.touch()
    assert present("pets", [[new, old]]) == [new]
    with pytest.raises(TwelvefoldError, match=r"third\.json or .*fourth\.json.* holds new\.json, old\.json"):
        present("pets", [[new], [tmp_path / "third.json", tmp_path / "fourth.json"]])
    with pytest.raises(TwelvefoldError, match="there is no folder"):
        present("pets", [[tmp_path / "nowhere" / "pets.json"]])


def test_a_tail_is_cut_off_also_when_it_is_nothing_or_all() -> None:
    assert split_tail([1, 2, 3], 2, "tail") == ([1], [2, 3])
    assert split_tail([1, 2, 3], 0, "tail") == ([1, 2, 3], [])
    assert split_tail([1, 2, 3], 3, "tail") == ([], [1, 2, 3])
    for tail in (4, -1):
        with pytest.raises(TwelvefoldError, match=f"tail={tail} can't be held out of 3 questions"):
            split_tail([1, 2, 3], tail, "tail")


PLAIN = [{"split": "train", "raw": "the lady", "ids": [1, 2**30, -7], "empty": []}, {"split": "val"}]


@pytest.mark.parametrize("protocol", [0, 2])
def test_python_2_pickles_give_their_plain_data(
    tmp_path: Path, python2: Callable[[Any, int], bytes], protocol: int
) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(python2(PLAIN, protocol))
    assert load_plain(path) == PLAIN


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_python_3_pickles_give_their_plain_data_bytes_too(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(pickle.dumps([*PLAIN, b"bytes \xff", 1.5, None, True, ("a", 2**70)], protocol))
    if protocol < 2:  # bytes of protocol 0 and 1 are made by _codecs.encode as well
        assert b"_codecs" in path.read_bytes()
    assert load_plain(path) == [*PLAIN, b"bytes \xff", 1.5, None, True, ("a", 2**70)]


@pytest.mark.parametrize(
    ("text", "decoded"), [("café".encode(), "café"), ("café".encode("latin1"), "café"), (b"plain", "plain")]
)
def test_byte_strings_are_utf8_or_else_latin1(
    tmp_path: Path, python2: Callable[[Any, int], bytes], text: bytes, decoded: str
) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(python2([text], 2))
    assert load_plain(path) == [decoded]


class Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("attacked",)


@pytest.mark.parametrize(
    ("value", "asked"),
    [(Attack(), "mkdir"), (np.float64(1.0), r"numpy\..*scalar"), ({1, 2}, "set"), (Path("x"), "Path")],
)
def test_a_pickle_that_asks_for_anything_else_is_refused_unrun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: object, asked: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "refs.p"
    path.write_bytes(pickle.dumps([value], 2))
    with pytest.raises(TwelvefoldError, match=rf"refs\.p is not loaded: .*{asked}"):
        load_plain(path)
    assert not (tmp_path / "attacked").exists()


def test_the_one_allowed_name_does_nothing_but_latin1(tmp_path: Path) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(b"\x80\x02c_codecs\nencode\nX\x02\x00\x00\x00hiX\x04\x00\x00\x00zlib\x86R.")
    with pytest.raises(TwelvefoldError, match="'zlib'"):
        load_plain(path)


@pytest.mark.parametrize("data", [b"", b"no pickle", b"\x80\x02](U", b"\x80\x02}(U\x01a", b"\x80\x63."])
def test_what_is_no_whole_pickle_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(data)
    with pytest.raises(TwelvefoldError, match=r"refs\.p"):
        load_plain(path)
