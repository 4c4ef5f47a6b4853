"""Reading record by record: valid and rejected records, damaged files, and pickles from untrusted sources."""

from __future__ import annotations

import gzip
import io
import os
import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from twelvefold.datasets import load_dataset
from twelvefold.datasets.reading.examples import read_examples
from twelvefold.datasets.reading.records import (
    BadRecordError,
    BadRecords,
    RecordReader,
    require_files,
    split_tail,
    validated,
)
from twelvefold.doctor import doctor
from twelvefold.parsing.text import iter_lines
from twelvefold.schema import Example, ImageKey, Pair, TwelvefoldError
from twelvefold.store.safe_pickle import load_plain

from .samples.sample import python2_pickle


class Item(msgspec.Struct):
    n: int
    name: str = ""


def make_reader(path: Path, data: bytes, *, skip: bool = False) -> RecordReader:
    path.write_bytes(data)
    return RecordReader("pets", path, BadRecords(skip=skip))


def test_the_error_for_a_bad_record_names_task_file_record_expectation_and_content(tmp_path: Path) -> None:
    pets = make_reader(tmp_path / "pets.json", b'{"pets": [{"n": 1}, {"n": "two"}]}')
    with pytest.raises(BadRecordError) as raised:
        list(pets.items("pets", Item))
    for part in ("pets: ", str(pets.path), "pets[1]", "`int`", "`str`", '{"n": "two"}'):
        assert part in str(raised.value)


def test_skipped_records_are_listed_and_counted_and_reading_continues(tmp_path: Path) -> None:
    pets = make_reader(tmp_path / "pets.json", b'[{"n": 1}, {"n": 2, "name": "\xff"}, {"n": 3}, {"m": 4}]', skip=True)
    assert [item.n for _, item in pets.items("", Item)] == [1, 3]
    assert [rejection.record for rejection in pets.bad.rejected] == ["[1]", "[3]"]
    assert [(rejection.task, rejection.file.name) for rejection in pets.bad.rejected] == [("pets", "pets.json")] * 2


def test_a_bad_record_in_a_nested_list_does_not_affect_the_others(tmp_path: Path) -> None:
    inner = {
        "good": b'[{"n": 1}, {"n": 2}]',
        "one bad": b'[{"n": 1}, {"m": 2}, {"n": 3}]',
        "no list": b'{"n": 1}',
    }
    pets, read = make_reader(tmp_path / "pets.json", b"", skip=True), {}
    for name, raw in inner.items():
        read[name] = [(record, item.n) for record, item in pets.nested_items(name, msgspec.Raw(raw), Item)]
    assert read == {"good": [("good[0]", 1), ("good[1]", 2)], "one bad": [("one bad[0]", 1), ("one bad[2]", 3)]} | {
        "no list": []
    }
    assert [rejection.record for rejection in pets.bad.rejected] == ["one bad[1]", "no list"]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b'{"pets": [{"n": 1}', "truncated or not JSON"),
        (b"", "truncated or not JSON"),
        (b"\x1f\x8b binary", "truncated or not JSON"),
        (b'{"other": []}', "expected an object with 'pets', got other"),
        (b'{"pets": {"n": 1}}', "a list at 'pets'"),
        (b"[]", "an object"),
    ],
)
def test_a_damaged_file_is_always_an_error(tmp_path: Path, data: bytes, error: str) -> None:
    pets = make_reader(tmp_path / "pets.json", data, skip=True)
    with pytest.raises(TwelvefoldError, match=error) as raised:
        list(pets.items("pets", Item))
    assert str(pets.path) in str(raised.value)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_json_lines_are_read_plain_or_gzipped(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    name = "pets.jsonl" if pack is bytes else "pets.jsonl.gz"
    pets = make_reader(tmp_path / name, pack(b'{"n": 1}\n\nnonsense\n{"n": NaN}\n{"n": 4}'), skip=True)
    assert [(record, item.n) for record, item in pets.lines(Item)] == [("line 1", 1), ("line 5", 4)]
    assert [rejection.record for rejection in pets.bad.rejected] == ["line 3", "line 4"]


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-12], lambda d: b"no gzip at all", lambda d: d[:40] + b"xxxx" + d[44:]]
)
def test_a_damaged_gzip_file_is_an_error(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    lines = b"".join(b'{"n": %d}\n' % (i * i * i) for i in range(500))
    pets = make_reader(tmp_path / "pets.jsonl.gz", damage(gzip.compress(lines)))
    with pytest.raises(TwelvefoldError, match=r"pets\.jsonl\.gz"):
        list(pets.lines(Item))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_a_byte_order_mark_and_utf16_are_no_part_of_the_records(tmp_path: Path, encoding: str) -> None:
    pets = make_reader(tmp_path / "pets.json", '{"pets": [{"n": 1, "name": "é"}]}'.encode(encoding))
    assert list(pets.items("pets", Item)) == [("pets[0]", Item(1, "é"))]
    pets = make_reader(tmp_path / "pets.jsonl", '{"n": 1}\n{"n": 2, "name": "é"}\n'.encode(encoding))
    assert list(pets.lines(Item)) == [("line 1", Item(1)), ("line 2", Item(2, "é"))]


NOT_JSON = ('{"n": NaN}', '{"n": 1, "name": "a\\ud83d"}', '{"n": 1, "name": "\\udc00 b"}', '{"n": 1, "n": 2}')


@pytest.mark.parametrize("bad", NOT_JSON)
def test_a_record_that_is_not_json_does_not_affect_the_others(tmp_path: Path, bad: str) -> None:
    records = ['{"n": 1}', bad, '{"n": 3, "name": "\\ud83d\\ude00 NaN"}']
    layouts: dict[str, tuple[str, Callable[[RecordReader], Any]]] = {
        "list": (f"[{', '.join(records)}]", lambda reader: reader.items("", Item)),
        "object": (f'{{"pets": [{", ".join(records)}]}}', lambda reader: reader.items("pets", Item)),
        "lines": ("\n".join(records), lambda reader: reader.lines(Item)),
        "mapping": (
            f'{{"a": {records[0]}, "b": {records[1]}, "c": {records[2]}}}',
            lambda reader: (
                (key, item)
                for key, raw in reader.mapping().items()
                if (item := reader.decode(key, raw, Item)) is not None
            ),
        ),
    }
    for layout, (text, read) in layouts.items():
        pets = make_reader(tmp_path / layout, text.encode(), skip=True)
        assert [item for _, item in read(pets)] == [Item(1), Item(3, "\U0001f600 NaN")]
        (rejection,) = pets.bad.rejected
        assert rejection.record in ("[1]", "pets[1]", "line 2", "b")
        assert any(part in rejection.reason for part in ("NaN, which", "half of a surrogate pair", "'n' occurs twice"))


def test_a_key_that_occurs_twice_or_is_no_text_is_rejected(tmp_path: Path) -> None:
    data = b'{"a": {"n": 1}, "b": {"n": 2}, "a": {"n": 3}, "\\ud83d": {"n": 4}}'
    pets = make_reader(tmp_path / "pets.json", data, skip=True)
    assert {key: bytes(raw) for key, raw in pets.mapping().items()} == {"a": b'{"n": 1}', "b": b'{"n": 2}'}
    assert [str(rejection).split(": ")[-1].split(",")[0] for rejection in pets.bad.rejected] == [
        "expected every key once",
        "expected a key of whole characters",
    ]
    twice = make_reader(tmp_path / "twice.json", b'{"pets": [], "pets": [{"n": 1}]}', skip=True)
    with pytest.raises(TwelvefoldError, match="'pets' once, got it 2 times"):
        list(twice.items("pets", Item))


def test_a_text_beyond_the_limit_is_rejected_and_not_cut_silently(tmp_path: Path) -> None:
    pets = make_reader(tmp_path / "pets.json", b"", skip=True)
    examples = [Example(str(n), (Pair(ImageKey("pets", "1"), "x" * n),), None) for n in (10_000, 2_000_000)]
    assert list(validated((pets, f"[{i}]", example) for i, example in enumerate(examples))) == examples[:1]
    assert [rejection.reason for rejection in pets.bad.rejected] == [
        "expected a text of at most 10,000 characters, got 2,000,000"
    ]


def test_a_line_beyond_the_limit_is_skipped_without_being_read_whole(tmp_path: Path) -> None:
    stream = io.BytesIO(b"\xef\xbb\xbfab\n" + b"x" * 3_000_000 + b"\ncd\n" + b"y" * 20)
    assert list(iter_lines(stream, max_bytes=10)) == [b"ab\n", b"x" * 11, b"cd\n", b"y" * 11]


@pytest.mark.parametrize("data", [b"[" * 100_000, b'[{"n": ' + b"1" * 10_000 + b"}]", b'[{"n": ' + b"[" * 5000])
def test_deep_and_long_values_are_errors(tmp_path: Path, data: bytes) -> None:
    for name in ("", "pets"):
        with pytest.raises(TwelvefoldError):
            list(make_reader(tmp_path / "pets.json", data).items(name, Item))
    with pytest.raises(TwelvefoldError):
        list(make_reader(tmp_path / "pets.jsonl", data).lines(Item))


def test_the_first_existing_name_is_used_and_the_error_for_a_missing_file_lists_all_names(tmp_path: Path) -> None:
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    old.touch()
    assert require_files("pets", [[new, old]]) == [old]
    new.touch()
    assert require_files("pets", [[new, old]]) == [new]
    with pytest.raises(TwelvefoldError, match=r"third\.json or .*fourth\.json.* holds new\.json, old\.json"):
        require_files("pets", [[new], [tmp_path / "third.json", tmp_path / "fourth.json"]])
    with pytest.raises(TwelvefoldError, match="there is no folder"):
        require_files("pets", [[tmp_path / "nowhere" / "pets.json"]])


def test_a_tail_may_be_empty_or_everything() -> None:
    assert split_tail([1, 2, 3], 2, "tail") == ([1], [2, 3])
    assert split_tail([1, 2, 3], 0, "tail") == ([1, 2, 3], [])
    assert split_tail([1, 2, 3], 3, "tail") == ([], [1, 2, 3])
    for tail in (4, -1):
        with pytest.raises(TwelvefoldError, match=f"tail={tail} cannot be held out of 3 questions"):
            split_tail([1, 2, 3], tail, "tail")


PLAIN = [{"split": "train", "raw": "the lady", "ids": [1, 2**30, -7], "empty": []}, {"split": "val"}]


@pytest.mark.parametrize("protocol", [0, 2])
def test_python_2_pickles_of_plain_data_are_read(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(python2_pickle(PLAIN, protocol))
    assert load_plain(path) == PLAIN


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_python_3_pickles_of_plain_data_and_bytes_are_read(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(pickle.dumps([*PLAIN, b"bytes \xff", 1.5, None, True, ("a", 2**70)], protocol))
    if protocol < 2:  # bytes of protocol 0 and 1 are made by _codecs.encode as well
        assert b"_codecs" in path.read_bytes()
    assert load_plain(path) == [*PLAIN, b"bytes \xff", 1.5, None, True, ("a", 2**70)]


@pytest.mark.parametrize(
    ("text", "decoded"), [("café".encode(), "café"), ("café".encode("latin1"), "café"), (b"plain", "plain")]
)
def test_byte_strings_are_decoded_as_utf8_or_latin1(tmp_path: Path, text: bytes, decoded: str) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(python2_pickle([text], 2))
    assert load_plain(path) == [decoded]


class Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("attacked",)


@pytest.mark.parametrize(
    ("value", "name"),
    [(Attack(), "mkdir"), (complex(1, 2), "complex"), (Path("x"), "Path")],
)
def test_a_pickle_that_needs_another_global_name_is_rejected_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: object, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "refs.p"
    path.write_bytes(pickle.dumps([value], 2))
    with pytest.raises(TwelvefoldError, match=rf"refs\.p was not loaded: .*{name}"):
        load_plain(path)
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_that_were_saved_again_are_read_as_plain_data(tmp_path: Path, protocol: int) -> None:
    """pandas and NumPy leave scalars and arrays behind; other scripts ordered dicts, default dicts and sets."""
    value = [
        {"ref_id": np.int64(5), "box": np.arange(4.0), "split": np.str_("träin"), "ok": np.bool_(True)},
        OrderedDict(a=1), defaultdict(list, {"b": [2]}), {3, 4}, np.array(["x", {"n": np.int32(1)}], object),
    ]  # fmt: skip
    path = tmp_path / "refs.p"
    path.write_bytes(pickle.dumps(value, protocol))
    loaded = load_plain(path)
    assert loaded[0].pop("box").tolist() == [0.0, 1.0, 2.0, 3.0]
    assert loaded == [{"ref_id": 5, "split": "träin", "ok": True}, {"a": 1}, {"b": [2]}, {3, 4}, ["x", {"n": 1}]]
    assert type(loaded[0]["ref_id"]) is int


def test_the_allowed_encode_function_accepts_latin1_only(tmp_path: Path) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(b"\x80\x02c_codecs\nencode\nX\x02\x00\x00\x00hiX\x04\x00\x00\x00zlib\x86R.")
    with pytest.raises(TwelvefoldError, match="'zlib'"):
        load_plain(path)


@pytest.mark.parametrize("data", [b"", b"no pickle", b"\x80\x02](U", b"\x80\x02}(U\x01a", b"\x80\x63."])
def test_a_damaged_pickle_is_an_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(data)
    with pytest.raises(TwelvefoldError, match=r"refs\.p"):
        load_plain(path)


def test_leaving_records_out_is_advised_only_if_others_can_be_used(folder: Any) -> None:
    dataset, options = load_dataset("vgqa"), {"tail": 1}
    records = folder.files["vg/question_answers.json"]
    del records[0]["qas"][0]["question"]
    with pytest.raises(BadRecordError, match="leave such records out with --skip-bad"):
        list(read_examples(dataset, folder.write(), "train", bad=BadRecords(), **options))
    for record in records:
        record["questions"] = record.pop("qas")
    with pytest.raises(TwelvefoldError, match=r"No record of train can be used \(2 were tried\)") as error:
        list(read_examples(dataset, folder.write(), "train", bad=BadRecords(), **options))
    assert "--skip-bad" not in str(error.value)
    steps = doctor(folder.write(), tasks=["vgqa"]).tasks["vgqa"].next
    assert steps
    assert not any("--skip-bad" in step for step in steps)
