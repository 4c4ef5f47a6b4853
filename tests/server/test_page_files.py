"""The page's files: complete, independent of other hosts, and short."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "src" / "twelvefold" / "server" / "page"
FILES = sorted(path for path in PAGE.rglob("*") if path.is_file())
OWN = [path for path in FILES if path.parent.name != "vendor"]
IMPORTED = re.compile(r"""(?:from|import) '(\.[^']+)'|(?:href|src)="(page/[^"]+)\"""")


def test_every_imported_file_exists_and_every_file_is_imported() -> None:
    imported = set()
    for path in OWN:
        for module, asset in IMPORTED.findall(path.read_text()):
            target = path.parent / module if module else PAGE.parent / asset
            assert target.is_file(), f"{path.name} names {module or asset}"
            imported.add(target.resolve())
    assert {path for path in FILES if path.name not in ("index.html", "LICENSES.txt")} == imported


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_a_file_is_short_and_refers_to_no_other_host(path: Path) -> None:
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")  # the SVG namespace, which is never loaded
    assert "://" not in text
    assert "//" not in re.sub(r"(^|\s)//.*", "", text)
    assert len(text.splitlines()) <= 400


def test_preact_is_the_published_file_and_its_licenses_ship_with_it() -> None:
    digest = hashlib.sha256((PAGE / "vendor" / "preact.js").read_bytes()).hexdigest()
    assert digest == "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7"
    licenses = (PAGE / "vendor" / "LICENSES.txt").read_text()
    assert "Apache License" in licenses
    assert "The MIT License" in licenses


def test_the_package_data_includes_all_files() -> None:
    settings = tomllib.loads((PAGE.parents[3] / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["twelvefold"]
    assert {f"**/*{path.suffix}" for path in FILES} <= set(patterns)
