"""Texts of requests are bounded and whole: one function checks those of Python, the command line and HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from twelvefold.schema import TwelvefoldError
from twelvefold.serving.dialogue import parse_dialogue
from twelvefold.serving.jsonl import MAX_REQUEST_BYTES, RequestLine, read_requests
from twelvefold.serving.request import read_text


def test_a_text_of_two_million_characters_is_refused() -> None:
    with pytest.raises(TwelvefoldError, match="at most 10,000 characters, got 2,000,000"):
        read_text("x" * 2_000_000, "text")


@pytest.mark.parametrize("text", ["a\ud800b", "\udcff", "b\ude00"])
def test_half_of_a_surrogate_pair_is_refused(text: str) -> None:
    with pytest.raises(TwelvefoldError, match="half of a surrogate pair") as raised:
        read_text(text, "text")
    str(raised.value).encode()  # can be printed


@pytest.mark.parametrize(
    "text", ['[["a\\ud800b?", "yes"]]', "[" * 100_000, '[["a", NaN]]', '[["a\ud800", "b"]', "{}", '[["a\udce9", "No"]]']
)
def test_dialogues_that_are_no_json_of_texts_are_refused(text: str) -> None:
    with pytest.raises(TwelvefoldError, match="dialogue: ") as raised:
        parse_dialogue(text)
    str(raised.value).encode()


def test_a_file_of_requests_reports_each_bad_line(tmp_path: Path) -> None:
    lines = [
        '{"task": "vqav2", "images": ["a.png"], "text": "é?"}', '{"task": 1}', '{"a": "\\ud83d"}', "[" * 100_000,
        '{"task": "vqav2", "task": "gqa", "images": []}', " " * (MAX_REQUEST_BYTES + 9) + "{}", "",
        '{"task": "vqav2", "images": [], "id": 1}',
    ]  # fmt: skip
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "in.jsonl").write_bytes("\n".join(lines).encode(encoding))
        parsed = read_requests(tmp_path / "in.jsonl")
        assert [isinstance(line, RequestLine) for line in parsed] == [True, *[False] * 5, True]
    (tmp_path / "in.jsonl").write_text("<!doctype html>")
    with pytest.raises(TwelvefoldError, match="web page"):
        read_requests(tmp_path / "in.jsonl")
