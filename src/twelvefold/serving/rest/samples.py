"""The pictures that ship with the package, with things to ask about them: for the page, the reference and tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twelvefold.pictures import picture_size
from twelvefold.store import files

FOLDER = Path(__file__).parents[1] / "samples"


@dataclass(frozen=True, slots=True)
class Sample:
    """jpeg: the file's bytes. suggestions: what ``samples.json`` has of it."""

    name: str
    jpeg: bytes
    width: int
    height: int
    suggestions: Any


def load_samples(folder: Path = FOLDER) -> dict[str, Sample]:
    """The samples of a folder, by name, in the order of its ``samples.json``."""
    if not (folder / "samples.json").exists():
        return {}
    samples = {}
    for said in files.read_json(folder / "samples.json"):
        jpeg = (folder / f"{said['name']}.jpg").read_bytes()
        samples[said["name"]] = Sample(said["name"], jpeg, *picture_size(jpeg), said)
    return samples
