"""Every code block of docs/use.md runs as written, except those marked bash, which need a run of one's own."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from twelvefold import cli
from twelvefold.serving.samples import sample

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "use.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("holiday").mkdir()
    for name in ("room", "beach"):
        shutil.copy(sample(name), "holiday")
    return tmp_path


def test_the_python_blocks_run(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for block in blocks("python"):
        exec(block, names)
    assert capsys.readouterr().out.split()[0] == "green"
    for file in ("answer.png", "attention.png", "head.png"):
        with Image.open(file) as drawn:
            assert drawn.width > 300
    assert names["index"].names == ["sample:room", "sample:beach", "sample:right"]


def test_the_commands_run(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    [lines] = blocks("json")
    Path("questions.jsonl").write_text(lines)
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) >= 12
    for command in commands:
        with pytest.raises(SystemExit) as exit_info:
            cli.main(shlex.split(command)[1:])
        assert not exit_info.value.code, command
        assert capfdbinary.readouterr().out, command
    answers = [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]
    assert [answer["task"] for answer in answers] == ["vqav2", "nlvr2", "guesswhat"]
    assert answers[0]["id"] == 7
    assert answers[2]["attention"]
    assert len(list(Path("drawn").iterdir())) == 2
