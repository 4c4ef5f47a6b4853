"""Rules of the code base that no type checker holds: layout, names, sizes, and what may not be imported.

docs/design.md gives the reasons. A rule without an exception is easiest to keep: there are none here but those named.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

import grimp
import pytest

from twelvefold.datasets import caption_set_names, task_names
from twelvefold.families import family_names

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "twelvefold"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
SCRIPTS = sorted(path for folder in ("benchmarks", "experiments", "tools") for path in (ROOT / folder).rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
Function = ast.FunctionDef | ast.AsyncFunctionDef

VAGUE_FILES = {"utils.py", "util.py", "common.py", "helpers.py", "base.py", "misc.py"}
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 400, 60, 8
BANNED_WORDS = {"place", "places", "said", "told", "asked", "seen", "lacking", "amiss", "anew", "eyes"}
"""Words of a private English, banned as a part of any identifier. ``one`` is banned alone."""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(TREES[path]) if isinstance(node, Function))


@pytest.mark.parametrize("lock", sorted(ROOT.glob("*.lock")), ids=lambda p: p.name)
def test_a_lock_file_holds_names_versions_and_hashes_but_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "==" in text
    assert "--hash=sha256:" in text
    assert "://" not in text
    assert "--index" not in text


def test_no_file_has_a_vague_name() -> None:
    assert [relative(p) for p in SOURCES if p.name in VAGUE_FILES] == []


def test_no_file_stands_next_to_one_whose_name_it_extends() -> None:
    """``prepare_pins.py`` next to ``prepare.py`` wants to be a folder; the two below are datasets."""
    names = {path.parent: {p.stem for p in path.parent.glob("*.py")} for path in SOURCES}
    pairs = [relative(p) for p in SOURCES for stem in names[p.parent] if p.stem.startswith(f"{stem}_")]
    assert pairs == [f"src/twelvefold/datasets/{name}.py" for name in ("flickr30k_entities", "refcoco_plus")]


def test_every_module_has_a_docstring() -> None:
    assert [relative(p) for p in SOURCES if TREES[p].body and ast.get_docstring(TREES[p]) is None] == []


def test_files_functions_and_parameter_lists_are_short() -> None:
    long_files = [relative(p) for p in SOURCES if len(p.read_text().splitlines()) > MAX_FILE_LINES]
    long_functions, many_parameters = [], []
    for path in SOURCES:
        for node in functions(path):
            where = f"{relative(path)}:{node.lineno} {node.name}"
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES:
                long_functions.append(where)
            if len([a for a in arguments if a.arg not in ("self", "cls")]) > MAX_PARAMETERS:
                many_parameters.append(where)
    assert (long_files, long_functions, many_parameters) == ([], [], [])


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Names that a module defines: functions, classes, parameters, variables, attributes."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield node.lineno, node.asname


def words(identifier: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier)
    return [word.lower() for word in spaced.split("_") if word]


@pytest.mark.slow
@pytest.mark.parametrize("path", [*SOURCES, *TESTS, *SCRIPTS], ids=relative)
def test_identifiers_are_the_terms_of_the_field(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    private = [f"line {line}: {name}" for line, name in identifiers(tree) if BANNED_WORDS & {*words(name)}]
    alone = [f"line {line}: {name}" for line, name in identifiers(tree) if name.strip("_") == "one"]
    assert private + alone == []


def test_class_names_are_unique_outside_datasets() -> None:
    names = Counter(
        node.name
        for path in SOURCES
        if PACKAGE / "datasets" not in path.parents
        for node in TREES[path].body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []


MAY_NAME_DATASETS = ("datasets/", "families/", "vilbert_mt/", "world/", "recipes/", "schema.py", "config/")
"""Where the name of a dataset or family may stand as a literal."""


def test_only_a_dataset_and_a_family_know_their_own_names() -> None:
    known = {*task_names(), *caption_set_names(), *family_names()}
    found = []
    for path in SOURCES:
        inside = path.relative_to(PACKAGE).as_posix()
        if inside.startswith(MAY_NAME_DATASETS):
            continue
        documented = docstrings(TREES[path])
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.Constant) and node.value in known and id(node) not in documented:
                found.append(f"{inside}:{node.lineno} {node.value!r}")
    assert found == []


def docstrings(tree: ast.AST) -> set[int]:
    """Return the ids of the nodes that are docstrings, or other strings that stand alone."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def test_lines_that_reshape_in_the_model_state_the_shape() -> None:
    reshapes = re.compile(r"\.(reshape|view|flatten|unflatten|expand|repeat_interleave|permute)\(")
    silent = []
    for path in sorted((PACKAGE / "model").glob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if reshapes.search(line) and not re.search(r"#.*\([A-Z1-9]", line):
                silent.append(f"{relative(path)}:{number} {line.strip()}")
    assert silent == []


def test_folders_of_tests_mirror_the_source() -> None:
    packages = {p.parent.relative_to(PACKAGE).as_posix() for p in SOURCES}
    others = {"browser", "benchmarks", "experiments"}  # the page and the report in a real browser; folders of scripts
    folders = {p.parent.relative_to(ROOT / "tests").as_posix() for p in TESTS}
    assert folders - packages - others == set()


def test_there_is_no_import_cycle() -> None:
    """Imports for type checking and inside functions count too."""
    graph = grimp.build_graph("twelvefold", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which lists the modules of a cycle


def test_the_import_contract_covers_every_module_without_exceptions() -> None:
    contract = (ROOT / ".importlinter").read_text(encoding="utf-8")
    assert "exhaustive = True" in contract
    assert not re.search(r"ignore_imports|exclude_type_checking|exhaustive_ignores", contract)


@pytest.mark.slow
@pytest.mark.parametrize(
    "modules",
    [
        "datasets, twelvefold.duplicates.image_groups, twelvefold.leakage.audit, twelvefold.splits.clean",
        "config.recipe, twelvefold.store.prepared, twelvefold.features.import_features, twelvefold.doctor",
        "cli",
    ],
)
def test_reading_data_and_showing_help_never_imports_torch(modules: str) -> None:
    code = f"import sys, twelvefold.{modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ci_calls_the_test_command_of_the_readme() -> None:
    assert "make test" in (ROOT / "README.md").read_text()
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_no_test_waits_forever() -> None:
    """Each test has a time limit, and none ends processes by their name."""
    assert re.search(r"^timeout = \d+$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    by_name = [relative(p) for p in chain(TESTS, (ROOT / "tests").rglob("conftest.py")) if "pkill" in p.read_text()]
    assert by_name == [relative(Path(__file__))]
