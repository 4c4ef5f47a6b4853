"""The house's own rules, held by tests: no addresses in locks, no forbidden names, files of one sitting."""

from __future__ import annotations

import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src" / "twelvefold").rglob("*.py"))


@pytest.mark.parametrize("lock", sorted(ROOT.glob("*.lock")), ids=lambda p: p.name)
def test_a_lock_holds_names_versions_and_hashes_but_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "==" in text
    assert "--hash=sha256:" in text
    assert "://" not in text
    assert "--index" not in text


def test_no_file_is_called_after_nothing_in_particular() -> None:
    vague = {"utils.py", "util.py", "common.py", "helpers.py", "base.py", "misc.py"}
    assert [p for p in SOURCES if p.name in vague] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [p.name for p in SOURCES if p.stat().st_size and not p.read_text().lstrip().startswith(('"""', 'r"""'))]
    assert silent == []


def test_files_are_read_in_one_sitting() -> None:
    long = {p.name: n for p in SOURCES if (n := len(p.read_text().splitlines())) > 400}
    assert long == {}


def test_there_is_no_import_cycle() -> None:
    """Imports for type checking and inside functions count too."""
    graph = grimp.build_graph("twelvefold", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which lists the modules of a cycle


def test_reading_data_and_a_recipe_never_pays_for_torch() -> None:
    modules = ("datasets", "duplicates.image_groups", "leakage.audit", "splits.clean", "config.recipe")
    code = f"import sys, {', '.join(f'twelvefold.{m}' for m in modules)}; "
    code += "twelvefold.config.recipe.Recipe.load('demo'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_program_shows_its_help_without_importing_torch() -> None:
    code = "import sys, twelvefold.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ci_calls_the_test_command_of_the_readme() -> None:
    assert "make test" in (ROOT / "README.md").read_text()
    assert "make test" in (ROOT / ".ci" / "run").read_text()
