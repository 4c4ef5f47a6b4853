"""A command has the parameters, defaults and help of its function."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App
from rich.console import Console
from rich.table import Table

from twelvefold.cli.computing import computing_on
from twelvefold.cli.from_function import Output, command, first_lines, keep_words_whole
from twelvefold.device import select_device
from twelvefold.environment import DEVICE_VARIABLE


@dataclass(frozen=True)
class Settings:
    """Settings that travel as one object."""

    detector: str = "world"
    """Name of the detector."""
    full: bool = False
    """Keep full precision."""


def convert(
    source: Path, out: Path, *, settings: Settings | None = None, tasks: Sequence[str] = (), top: int = 3
) -> Any:
    """Convert a file.

    Details.

    Args:
        source: File to read.
        out: File to write.
        settings: Not shown as a whole.
        tasks: Names of tasks.
        top: Number of rows.

    Raises:
        ValueError: never.
    """
    return {"source": str(source), "settings": settings, "tasks": list(tasks), "top": top}


@command(convert, example="twelvefold convert a b", problem="there are too many rows")
def convert_command(result: Mapping[str, Any], arguments: Mapping[str, Any]) -> Output:
    return Output(f"{arguments['source']}: {result['top']} rows", exit_code=1 if result["top"] > 9 else 0)


@pytest.fixture
def call() -> Callable[..., int]:
    app = App(name="twelvefold")
    app.command(convert_command, name="convert")
    return lambda *words: int(app(["convert", *words], result_action="return_value"))


def test_options_reach_the_function_and_settings_are_one_option_for_each_field(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("a", "b", "--tasks", "vqav2", "gqa", "--detector", "x152", "--full", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["tasks"] == ["vqav2", "gqa"]
    assert result["settings"] == {"detector": "x152", "full": True}
    assert result["top"] == 3


def test_defaults_are_the_functions_and_the_exit_code_is_the_outputs(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("a", "b") == 0
    assert call("a", "b", "--top", "10") == 1
    assert capsys.readouterr().out == "a: 3 rows\na: 10 rows\n"


def test_the_help_is_the_functions_docstring_with_an_example(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    app = App(name="twelvefold")
    app.command(convert_command, name="convert")
    with pytest.raises(SystemExit):
        app(["convert", "--help"])
    text = capsys.readouterr().out
    for part in (
        "Convert a file.",
        "Exit code 1 if there are too many rows.",
        "twelvefold convert a b",
        "Details.",
        "File to read.",
        "Name of the detector.",
    ):
        assert part in text
    assert "Raises" not in text


def test_words_of_a_table_are_whole_in_a_narrow_terminal() -> None:
    console = Console(width=30, file=io.StringIO())
    table = Table("name", "about")
    table.add_row("paper/ablation/no_stop_and_go", "the whole text of " * 5 + "https://example.org/a/long/address")
    keep_words_whole(table, console)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "paper/ablation/no_stop_and_go" in text
    assert "https://example.org/a/long/address" in text
    assert {len(line) for line in text.splitlines()} == {len(text.splitlines()[0])}


def test_the_device_of_a_command_holds_for_the_call(call: Callable[..., int], tmp_path: Path) -> None:
    devices: list[str] = []

    def compute(run: Path) -> None:
        """Compute."""
        devices.append(select_device("auto").type)

    compute_command = command(compute, example="twelvefold compute run", computes=computing_on)(
        lambda result, arguments: Output()
    )
    app = App(name="twelvefold")
    app.command(compute_command, name="compute")
    assert app(["compute", "run", "--device", "cpu"], result_action="return_value") == 0
    assert devices == ["cpu"]
    assert DEVICE_VARIABLE not in os.environ


def test_long_lists_are_cut_and_say_so() -> None:
    assert first_lines("unreadable", {"a": "truncated"}) == ["unreadable: a: truncated"]
    assert first_lines("row", list(range(25)))[-1] == "row: 5 more (--json prints all)"
