"""Every code block of README.md runs in order, from an empty folder, with an installed copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

SHORTER = {
    "pip install '.[serve]'": "true  # the fixture has installed it, without the network",
    # These print the commands; tests/test_demo.py runs a demo.
    "make demo ": f"make --no-print-directory -n -C '{ROOT}' demo ",
    "make test ": f"make --no-print-directory -n -C '{ROOT}' test ",
    "--images 4000": "--images 120",
    "--recipe demo": "--recipe smoke",
    "train demo ": "train smoke ",
    "# chance, majority, blind models": "|| [ $? = 1 ]",  # after 20 steps no task beats them, which is exit code 1
}
"""Replacements that make a block fast enough for a test. Each must occur in the README."""


def blocks() -> list[tuple[str, str]]:
    """Return the language and the text of every block."""
    return BLOCK.findall(README)


def shortened(text: str) -> str:
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    return text


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package as pip does, from a copy so that the build leaves nothing in this folder."""
    copy, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--no-compile", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(copy)], check=True)
    return target


def test_every_block_is_python_or_shell_and_every_replacement_is_used() -> None:
    assert {language for language, _ in blocks()} == {"python", "sh"}
    assert README.count("```") == 2 * len(blocks())
    outside = BLOCK.sub("", README)
    assert re.findall(r"\n\n(?: {4}|\t)\S.*", outside) == []  # an indented block, which would not be run
    text = "".join(text for _, text in blocks())
    assert [long for long in SHORTER if long not in text] == []


def test_commands_in_the_text_exist() -> None:
    from twelvefold.cli import COMMANDS

    mentioned = re.findall(r"`twelvefold ([a-z]+)", BLOCK.sub("", README))
    assert mentioned
    assert set(mentioned) - set(COMMANDS) == set()


@pytest.mark.slow
def test_every_block_runs_in_an_empty_folder(site: Path, tmp_path: Path) -> None:
    path = os.pathsep.join([str(site / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PYTHONPATH": str(site), "PATH": path, "OMP_NUM_THREADS": "1"}
    where = "import twelvefold; print(twelvefold.__file__)"
    for language, text in [("python", where), *blocks()]:
        command = {"python": [sys.executable, "-c"], "sh": ["bash", "-euo", "pipefail", "-c"]}[language]
        done = subprocess.run(
            [*command, shortened(text)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        if text == where:
            assert Path(done.stdout.strip()).is_relative_to(site)
    assert (tmp_path / "answer.png").stat().st_size > 10_000
    assert (tmp_path / "runs" / "mine" / "report.html").exists()
