"""JSON of any origin: encodings, keys that occur twice, NaN, half characters, depth, and numbers of any length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from twelvefold.parsing.bounds import TooLargeError, check_bounds, short_repr
from twelvefold.parsing.json_text import JsonError, decode_json, describe_error, mark_invalid, read_json
from twelvefold.parsing.toml_text import read_toml
from twelvefold.schema import TwelvefoldError

VALUE: dict[str, Any] = {"name": "Käse \U0001f600", "numbers": [1, 2.5, None, True]}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_every_unicode_encoding_is_read(tmp_path: Path, encoding: str, ascii_only: bool) -> None:
    data = json.dumps(VALUE, ensure_ascii=ascii_only).encode(encoding)
    (tmp_path / "a.json").write_bytes(data)
    assert read_json(tmp_path / "a.json") == VALUE
    assert decode_json(data, dict) == VALUE


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 300 + b"]" * 300, "nested more than 100 levels"),
        (b'{"a": [' + b"1" * 10_000 + b"]}", "Exceeds the limit"),
        (b'{"a": NaN}', "NaN, which is no number"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "key 'b' occurs twice"),
        (b'["a\\ud83d"]', "half of a surrogate pair"),
        (b"{", "not JSON"),
        (b"", "it is empty"),
        (b'["\xff\xfe"]', "not JSON"),
    ],
)
def test_what_is_no_json_is_an_error_that_says_why(tmp_path: Path, data: bytes, problem: str) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(TwelvefoldError, match=problem) as raised:
        read_json(tmp_path / "a.json")
    assert len(str(raised.value)) < 500


def test_a_typed_value_has_every_key_once() -> None:
    record = msgspec.defstruct("Record", [("a", int)])
    assert decode_json(b'{"a": 1, "b": "x:y \\u003a"}', record).a == 1  # type: ignore[attr-defined]
    with pytest.raises(JsonError, match="'a' occurs twice"):
        decode_json(b'{"a": 1, "b": {}, "a": 1}', record)
    with pytest.raises(JsonError, match="'c' occurs twice"):
        decode_json(b'{"a": 1, "b": [{"c": 1, "c": 2}]}', record)


def test_a_marked_file_keeps_all_records_but_the_invalid_ones_readable() -> None:
    texts = [
        '{"text": "fine"}', '{"text": "a\\ud83d"}', '{"text": "\\ud83d\\ude00"}', '{"text": NaN}',
        '{"text": "NaN and \\\\ud83d"}', '{"text": "x", "other": -Infinity}', '{"text": "\\udc00\\ud800 b"}',
    ]  # fmt: skip
    marked = mark_invalid(f"[{', '.join(texts)}]".encode())
    assert marked is not None
    record = msgspec.defstruct("TextRecord", [("text", str)])
    decoded, reasons = {}, {}
    for number, raw in enumerate(msgspec.json.decode(marked, type=list[msgspec.Raw])):
        try:
            decoded[number] = msgspec.json.decode(raw, type=record).text  # type: ignore[attr-defined]
        except JsonError as error:
            reasons[number] = describe_error(error, raw)
    assert decoded == {0: "fine", 2: "\U0001f600", 4: "NaN and \\ud83d", 5: "x"}
    assert {number: reason.split(",")[0] for number, reason in reasons.items()} == {
        1: "it holds \\ud83d", 3: "it holds NaN", 6: "it holds \\udc00",
    }  # fmt: skip
    assert mark_invalid(b'{"a": "NaN \\\\ud83d"}') is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = " + "[" * 100_000, "nested too deeply"),
        (".".join("a" * 3000) + " = 1", "nested more than"),
        ("a = " + "1" * 10_000, "Exceeds the limit"),
        ("a = 1\na = 2", "not TOML"),
    ],
)
def test_what_is_no_toml_is_an_error_that_says_why(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(TwelvefoldError, match=problem):
        read_toml(tmp_path / "a.toml")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_toml(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.toml").write_bytes('a = "Käse"'.encode(encoding))
    assert read_toml(tmp_path / "a.toml") == {"a": "Käse"}


def test_values_are_measured_and_shown_in_bounded_time() -> None:
    doubled: Any = []
    for _ in range(60):
        doubled = [doubled, doubled]
    with pytest.raises(TooLargeError, match="more than 1,000 values"):
        check_bounds(doubled, 1_000)
    itself: list[Any] = []
    itself.append(itself)
    with pytest.raises(TooLargeError, match="contains itself"):
        check_bounds(itself, 1_000)
    check_bounds([[{"a": (1, 2)}] * 10] * 10, 1_000)
    for value in (doubled, itself, 10**10_000, "x" * 10**7, b"x" * 10**7, {n: n for n in range(10**5)}):
        assert len(short_repr(value)) <= 160
