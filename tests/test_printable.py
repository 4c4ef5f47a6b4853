"""Any text can be printed and written: bytes that are not UTF-8, lone surrogates, control codes, ASCII terminals."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch

from twelvefold.images import ImageError
from twelvefold.model import tensor_files
from twelvefold.printable import encode_json, print_json, printable_name, printable_text
from twelvefold.schema import TwelvefoldError, escape_surrogates
from twelvefold.serving.samples import find_sample
from twelvefold.store import atomic_files


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (os.fsdecode(b"caf\xe9.jpg"), "caf\\xe9.jpg"),
        ("\ud83d.jpg", "\\ud83d.jpg"),
        ("café 日本 😀.jpg", "café 日本 😀.jpg"),
        ("a\nb\x1b[31m.jpg", "a\\nb\\x1b[31m.jpg"),
        ("a\\b.jpg", "a\\b.jpg"),
    ],
)
def test_a_name_becomes_one_line_that_utf_8_can_encode(name: str, expected: str) -> None:
    assert printable_name(name) == expected
    assert printable_name(expected) == expected
    assert escape_surrogates(name).encode()


def test_a_text_keeps_its_lines_and_loses_control_sequences() -> None:
    assert printable_text("a\n\tb \x1b]0;title\x07") == "a\n    b \\x1b]0;title\\x07"


def test_json_has_no_surrogates_in_memory_or_on_disk(tmp_path: Path) -> None:
    value = {os.fsdecode(b"k\xe9"): [os.fsdecode(b"v\xff"), Path(os.fsdecode(b"p\xfe")), "\ud800", 1.5, None]}
    expected = {"k\\xe9": ["v\\xff", "p\\xfe", "\\ud800", 1.5, None]}
    assert msgspec.json.decode(encode_json(value)) == expected
    atomic_files.write_json(tmp_path / "a.json", {os.fsdecode(b"k\xe9"): [os.fsdecode(b"v\xff"), "\ud800"]})
    assert atomic_files.read_json(tmp_path / "a.json") == {"k\\xe9": ["v\\xff", "\\ud800"]}


def test_a_terminal_without_utf_8_gets_valid_json(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("ascii", "latin-1", "utf-8"):
        out = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding))
        print_json({"name": "café 😀"}, indent=1)
        assert json.loads(out.getvalue().decode(encoding)) == {"name": "café 😀"}


def test_a_file_name_may_be_as_long_as_the_disk_allows(tmp_path: Path) -> None:
    names = ["x" * 255, "é" * 127, "日" * 85]
    for name in names:
        atomic_files.write_text(tmp_path / name, "text")
        with atomic_files.atomic_folder(tmp_path / "folders" / name) as folder:
            (folder / "a").write_text("1")
        with atomic_files.atomic_folder(tmp_path / "folders" / name) as folder:
            (folder / "a").write_text("2")
        assert (tmp_path / "folders" / name / "a").read_text() == "2"
    assert {path.name for path in tmp_path.iterdir()} == {*names, "folders"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["ascii terminal", "C locale"],
)
def test_commands_never_end_in_a_traceback_for_a_name_or_a_text(tmp_path: Path, environment: dict[str, str]) -> None:
    room = find_sample("room").path.read_bytes()
    folder = os.fsencode(tmp_path) + b"/pics\xe9"
    Path(os.fsdecode(folder)).mkdir()
    for name in (b"caf\xe9.jpg", b"new\nline.jpg", "日本.jpg".encode(), b"x" * 240 + b".jpg", b"\x1b[31m.jpg"):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(room)
    Path(os.fsdecode(folder + b"/note\xff.txt")).write_text("x")
    script = (
        "import sys, os\n"
        "from twelvefold import cli\n"
        "for line in sys.stdin.buffer.read().split(b'\\0'):\n"
        "    try: cli.main([os.fsdecode(part) for part in line.split(b'\\1')])\n"
        "    except SystemExit as end: print('CODE', end.code, flush=True)\n"
    )
    index, out = folder + b".index", folder + b".out"
    commands = [
        [b"ask", folder, b"What?"],
        [b"ask", folder + b"/caf\xe9.jpg", b"caf\xe9?"],
        [b"find", b"a boot", folder],
        [b"find", b"a boot", folder, b"--json"],
        [b"index", b"add", index, folder],
        [b"index", b"search", index, b"a boot", b"--top", b"9"],
        [b"index", b"remove", index, folder + b"/caf\xe9.jpg"],
        [b"extract", folder, out, b"--processes", b"1"],
        [b"audit", b"--own", b"a:train=" + folder, b"--own", b"b:test=" + folder, b"--html", folder + b".html"],
        [b"doctor", b"gone\xe9"],
        [b"gone\xe9"],
        [b"ask", b"y" * 5000, b"What?"],
    ]
    process = subprocess.run(
        [sys.executable, "-c", script],
        input=b"\0".join(b"\1".join(command) for command in commands),
        env=os.environ | environment | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in process.stderr, process.stderr.decode()
    codes = [int(line.split()[1]) for line in process.stdout.splitlines() if line.startswith(b"CODE")]
    assert codes == [0, 2, 0, 0, 0, 0, 0, 0, 1, 2, 2, 2]
    if "PYTHONIOENCODING" in environment:
        process.stdout.decode("ascii")
        process.stderr.decode("ascii")
    assert b"\x1b[31m" not in process.stdout


def test_weights_are_read_from_a_folder_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"run\xe9") / "a.safetensors"
    tensor_files.write(path, {"a": torch.ones(3)})
    assert tensor_files.read_safetensors(path).tensors["a"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("text", [os.fsdecode(b"caf\xe9"), "half \ud83d of a pair", "\udc80" * 30_000])
def test_the_message_of_an_error_can_be_printed_by_any_program(text: str) -> None:
    for error in (TwelvefoldError(text), TwelvefoldError(OSError(2, "no such file", text)), ImageError(text)):
        assert str(error).encode()
        assert not error.args[0].isspace()
    assert str(TwelvefoldError("café 日本 \\x")) == "café 日本 \\x"
