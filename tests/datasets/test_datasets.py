"""Loading a dataset's module: the twelve by name, a user's own by its dotted path."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from twelvefold.datasets import check_options, load
from twelvefold.schema import TwelvefoldError


def test_an_unknown_name_gets_the_closest() -> None:
    with pytest.raises(TwelvefoldError, match=r"did you mean 'refcoco\+'"):
        load("refcoco++")


def test_loading_one_imports_no_other_and_never_torch() -> None:
    code = (
        "import sys; from twelvefold.datasets import load; load('nlvr2');"
        "print(sorted(m for m in sys.modules if m.startswith('twelvefold.datasets.') or m == 'torch'))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == str([f"twelvefold.datasets.{m}" for m in ("nlvr2", "reading", "reading.records")])


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("vqav2", {"minvall": 5}, "no option 'minvall'; it has minval, test; did you mean 'minval'?"),
        ("nlvr2", {"bad": 5}, "no option 'bad'"),
        ("snli_ve", {"test": "x"}, "it has none"),
        ("vgqa", {"tail": "5"}, "option tail takes int values, got '5'"),
        ("gqa", {"consistency": 1}, "option consistency takes bool values, got 1"),
    ],
)
def test_an_option_that_a_reader_doesnt_have_is_refused(name: str, options: dict[str, Any], why: str) -> None:
    with pytest.raises(TwelvefoldError, match=f"^{name}: .*{re.escape(why)}"):
        check_options(load(name), options)


@pytest.mark.parametrize(("name", "options"), [("vqav2", {"minval": 5, "test": "test-dev2015"}), ("snli_ve", {})])
def test_its_own_options_pass(name: str, options: dict[str, Any]) -> None:
    check_options(load(name), options)


def _module(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.py").write_text(text)
    (folder / f"{name}_package").mkdir()
    (folder / f"{name}_package" / "data.py").write_text(text)
    return f"{name}_package.data"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_a_module_of_ones_own_that_lacks_something_is_told_so(here: Path) -> None:
    name = _module(here, "half", "TASK = 1\ndef files(): ...\n")
    with pytest.raises(TwelvefoldError, match=r"half_package\.data .* lacks read"):
        load(name)


def test_a_module_of_ones_own_may_not_take_a_name_of_the_twelve(here: Path) -> None:
    name = _module(here, "twin", "from twelvefold.datasets.nlvr2 import TASK, files, read\n")
    with pytest.raises(TwelvefoldError, match="one of ours; choose another"):
        load(name)


def test_a_module_that_is_not_there_is_told_where_it_was_looked_for(here: Path) -> None:
    with pytest.raises(TwelvefoldError, match="nowhere") as error:
        load("nowhere.pets")
    assert str(here) in str(error.value)


def test_a_module_whose_own_import_fails_says_so_itself(here: Path) -> None:
    name = _module(here, "broken", "import no_such_library\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        load(name)
