"""The page's files as they ship: all there, nothing from another host, short enough to read."""

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


def test_every_file_that_one_names_is_there_and_every_file_is_named() -> None:
    named = set()
    for path in OWN:
        for module, asset in IMPORTED.findall(path.read_text()):
            target = path.parent / module if module else PAGE.parent / asset
            assert target.is_file(), f"{path.name} names {module or asset}"
            named.add(target.resolve())
    assert {path for path in FILES if path.name not in ("index.html", "LICENSES.txt")} == named


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_a_file_is_short_and_names_no_other_host(path: Path) -> None:
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")  # SVG's name for itself, which nobody fetches
    assert "://" not in text
    assert "//" not in re.sub(r"(^|\s)//.*", "", text)
    assert len(text.splitlines()) <= 400


def test_preact_is_the_published_file_and_its_licences_ship_with_it() -> None:
    digest = hashlib.sha256((PAGE / "vendor" / "preact.js").read_bytes()).hexdigest()
    assert digest == "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7"
    licences = (PAGE / "vendor" / "LICENSES.txt").read_text()
    assert "Apache License" in licences
    assert "The MIT License" in licences


def test_an_installed_package_has_all_of_them() -> None:
    settings = tomllib.loads((PAGE.parents[3] / "pyproject.toml").read_text())
    kinds = settings["tool"]["setuptools"]["package-data"]["twelvefold"]
    assert {f"**/*{path.suffix}" for path in FILES} <= set(kinds)
