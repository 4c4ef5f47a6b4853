"""Built-in datasets are found by listing their folder and loaded by name; your own by a dotted path."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from twelvefold import datasets
from twelvefold.datasets import caption_set_names, check_options, load_dataset, paper_task_names, task_names
from twelvefold.schema import TwelvefoldError


def test_built_in_datasets_are_the_modules_of_the_folder() -> None:
    table_2 = "vqav2 gqa vgqa coco flickr30k refcoco refcoco+ refcocog visual7w guesswhat nlvr2 snli_ve"
    assert paper_task_names() == tuple(table_2.split())
    assert task_names()[:12] == paper_task_names()
    assert caption_set_names() == ("conceptual_captions",)
    modules = {path.stem for path in Path(datasets.__file__).parent.glob("*.py")} - {"__init__"}
    assert {name.replace("+", "_plus") for name in (*task_names(), *caption_set_names())} == modules


def test_the_error_for_an_unknown_name_suggests_the_closest() -> None:
    with pytest.raises(TwelvefoldError, match=r"did you mean 'refcoco\+'"):
        load_dataset("refcoco++")


def test_loading_a_dataset_imports_no_other_dataset_and_never_torch() -> None:
    code = (
        "import sys; from twelvefold.datasets import load_dataset; load_dataset('nlvr2');"
        "print(*(m for m in sys.modules if m.startswith('twelvefold.datasets.') or m == 'torch'))"
    )
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = [name for name in modules.split() if not name.startswith("twelvefold.datasets.reading")]
    assert loaded == ["twelvefold.datasets.nlvr2"]


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("vqav2", {"minvall": 5}, "no option 'minvall'; it has minval, test; did you mean 'minval'?"),
        ("nlvr2", {"bad": 5}, "no option 'bad'"),
        ("snli_ve", {"test": "x"}, "it has none"),
        ("vgqa", {"tail": "5"}, "reader option tail: expected int, got '5'"),
        ("vqav2", {"minval": True}, "reader option minval: expected int, got True"),
        (
            "gqa",
            {"test": "dev"},
            "reader option test: expected one of 'testdev', 'test', 'challenge', 'submission', got",
        ),
        ("gqa", {"consistency": 1}, "reader option consistency: expected bool, got 1"),
    ],
)
def test_an_unknown_option_or_a_value_of_the_wrong_type_is_rejected(
    name: str, options: dict[str, Any], error: str
) -> None:
    with pytest.raises(TwelvefoldError, match=f"^{name}: .*{re.escape(error)}"):
        check_options(load_dataset(name), options)


@pytest.mark.parametrize(("name", "options"), [("vqav2", {"minval": 5, "test": "test-dev2015"}), ("snli_ve", {})])
def test_valid_options_are_accepted(name: str, options: dict[str, Any]) -> None:
    check_options(load_dataset(name), options)


def _module(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.py").write_text(text)
    (folder / f"{name}_package").mkdir()
    (folder / f"{name}_package" / "data.py").write_text(text)
    return f"{name}_package.data"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_a_custom_module_that_misses_a_name_is_rejected(folder: Path) -> None:
    name = _module(folder, "half", "TASK = 1\ndef files(): ...\n")
    with pytest.raises(TwelvefoldError, match=r"half_package\.data .* does not define read"):
        load_dataset(name)


def test_a_custom_module_may_not_have_the_name_of_a_built_in_task(folder: Path) -> None:
    name = _module(folder, "twin", "from twelvefold.datasets.nlvr2 import TASK, files, read\n")
    with pytest.raises(TwelvefoldError, match="the name of a built-in task; choose another"):
        load_dataset(name)


def test_the_error_for_a_missing_module_names_the_searched_folder(folder: Path) -> None:
    with pytest.raises(TwelvefoldError, match="nowhere") as raised:
        load_dataset("nowhere.pets")
    assert str(folder) in str(raised.value)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import no_such_library\n", "line 1: ModuleNotFoundError: No module named 'no_such_library'"),
        ("x = 1\ny = x / 0\n", "line 2: ZeroDivisionError"),
        ("def files(:\n", "line 1: SyntaxError"),
    ],
)
def test_a_custom_module_that_fails_is_an_error_that_names_its_line(folder: Path, text: str, error: str) -> None:
    name = _module(folder, f"broken{len(text)}", text)
    with pytest.raises(TwelvefoldError, match=re.escape(error)) as raised:
        load_dataset(name)
    assert str(folder) in str(raised.value)


def test_a_task_name_that_cannot_name_a_file_is_refused(folder: Path) -> None:
    text = "from twelvefold.datasets.nlvr2 import files, read\nfrom twelvefold.datasets.nlvr2 import TASK as task\n"
    text += "import dataclasses\nTASK = dataclasses.replace(task, name='my/pets')\n"
    with pytest.raises(TwelvefoldError, match=r"TASK\.name is 'my/pets'; files are named after it"):
        load_dataset(_module(folder, "slash", text))


def test_a_module_without_a_folder_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pets.py").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TwelvefoldError, match=r"move pets\.py to mine/pets\.py and name it 'mine\.pets'"):
        load_dataset("pets")
