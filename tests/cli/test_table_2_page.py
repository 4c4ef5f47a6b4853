"""Every command of docs/table-2.md is valid, and its recipes, files and estimates are those of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from benchmarks.training_time import disk_table, time_table
from cyclopts import CycloptsError

from twelvefold import cli
from twelvefold.config.recipe import Recipe
from twelvefold.datasets import paper_task_names
from twelvefold.download.catalog import load_catalog
from twelvefold.schema import TwelvefoldError

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "table-2.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
LOOP = re.compile(r"for (\w+) in ([^;]+); do\n(.*?)done\n", re.DOTALL)


def expand(block: str) -> list[str]:
    """Return the commands of a block, those of a loop once for each value."""

    def repeat(loop: re.Match[str]) -> str:
        name, values, body = loop.groups()
        return "".join(body.replace(f"${name}", value) for value in values.split())

    lines = LOOP.sub(repeat, block).splitlines()
    return [line.strip().removeprefix("torchrun --nproc-per-node 8 -m ") for line in lines if line.strip()]


COMMANDS = [command for block in BLOCKS for command in expand(block)]
OURS = [command for command in COMMANDS if command.startswith("twelvefold ")]


def test_the_page_has_no_other_commands() -> None:
    assert [command for command in COMMANDS if command not in OURS] == ["pip install '.[official]'"]
    assert len(OURS) > 70
    assert "```" not in re.sub(r"```sh\n.*?```", "", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("command", sorted({" ".join(command.split()[:2]) for command in OURS}))
def test_every_command_line_is_valid(command: str) -> None:
    for line in OURS:
        if line.startswith(command):
            cli.app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)


def test_an_invalid_command_line_is_noticed() -> None:
    for wrong in ("prepare a b c --no-such-option 3", "finetune runs/row4", "finetune a gqa b --recipe paper/no_such"):
        with pytest.raises((CycloptsError, TwelvefoldError)):
            cli.app.parse_args(wrong.split(), exit_on_error=False, print_error=False)


def test_recipes_exist_and_every_task_has_its_rows() -> None:
    names = {word for line in OURS for word in shlex.split(line) if word.startswith("paper/")}
    assert names
    tasks = {task for name in names if name.startswith("paper/single/") for task in Recipe.load(name).tasks}
    assert tasks == set(paper_task_names())
    tuned = {shlex.split(line)[3] for line in OURS if line.startswith("twelvefold finetune")}
    assert tuned == set(paper_task_names())
    groups = [Recipe.load(name).tasks for name in names if name.startswith("paper/group/")]
    assert sorted(task for group in groups for task in group) == sorted(paper_task_names())


def test_fetched_names_and_files_are_those_of_the_catalog() -> None:
    items = load_catalog().items
    known = {item.name for item in items} | {group for item in items for group in item.groups}
    fetched = [line.partition(" --")[0].split()[2:] for line in OURS if line.startswith("twelvefold fetch")]
    assert {name for names in fetched for name in names} <= known
    paths = {item.path.removesuffix("/data.mdb") for item in items}
    used = set(re.findall(r"data/real/((?:features|weights)/\S+)", "\n".join(OURS)))
    assert len(used) == 7
    assert used - paths == set()


def test_the_estimates_are_those_that_the_script_prints() -> None:
    assert time_table() in PAGE
    assert disk_table() in PAGE
    assert "**Estimates**" in PAGE
