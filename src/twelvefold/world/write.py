"""Write a world: pictures and official files of all twelve tasks, from nothing but a number of images and a seed.

Pictures go through in blocks, each made by one process and saved whole; in the end the blocks' sheets are strung
together to the official files. A world appears at its place when all of it is there, and not before: until then it
is in a hidden folder beside, from which a second run goes on.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from twelvefold.progress import progress_bar
from twelvefold.schema import TwelvefoldError
from twelvefold.store.atomic_files import (
    atomic_folder,
    lock_folder,
    read_json,
    remove_leftovers,
    write_json,
)
from twelvefold.store.worker_pool import create_pool
from twelvefold.world.blocks import SCENES, image_keys, save_block
from twelvefold.world.formats import LAYOUTS
from twelvefold.world.formats.official import write_official
from twelvefold.world.sources import SET_SIZE, TASKS, PlannedImage, plan_images

VERSION: Final = 1
"""Version of the worlds that this package draws. Increase it when a change under ``world/`` writes other bytes."""

_VERSION_OF_DIGEST: Final = {"7a31f0169d1a87f5a0674e257873ceec": 1}
"""Worlds made before versions had numbers state a digest of the source files instead."""

BLOCK: Final = 16 * SET_SIZE
"""Pictures a process makes at a time: whole NLVR2 sets, and small enough that a killed run loses little."""

_BLOCKS, _PARAMETERS, _STATE, _TWINS = ".blocks", "parameters.json", "world.json", "truth/near_duplicates.json"
_LAYOUTS: Final = (*LAYOUTS, SCENES)


@dataclass(frozen=True, slots=True)
class WorldSummary:
    """What :func:`world` left at ``folder``. examples: task -> split -> number. made: False where it was there.

    reader_options: task -> options its reader needs here, because the publishers' tails suit larger files.
    """

    folder: Path
    images: int
    seed: int
    examples: Mapping[str, Mapping[str, int]]
    reader_options: Mapping[str, Mapping[str, int]]
    made: bool
    seconds: float


def world(out: Path, *, images: int, seed: int = 0, workers: int | None = None) -> WorldSummary:
    """Write the world of ``images`` pictures into ``out``, byte for byte the same whatever ``workers`` (all cores).

    A world that is there with the same arguments is kept; one that was cut off is finished.

    Raises:
        TwelvefoldError: fewer than 100 images, ``out`` holds something else, another process writes it, a full disk.
    Paper: the datasets of section 2.1, whose files it stands in for, and their overlaps (Table 1).
    """
    started = time.monotonic()
    out = Path(out).absolute()
    pictures = plan_images(images, seed)
    parameters = {"images": images, "seed": seed, "generator": VERSION, **_versions()}
    made = not _is_there(out, parameters)
    if made:
        building = out.with_name(f".{out.name}.building")
        with lock_folder(building):
            if not _is_finished(building, parameters):
                _start_over_if_other(building, parameters)
                _make_blocks(building, pictures, seed, workers or os.cpu_count() or 1)
                _finish(building, pictures, parameters)
            _put_in_place(building, out)
    state = read_json(out / _STATE)
    return WorldSummary(
        out, images, seed, state["examples"], state["reader_options"], made, round(time.monotonic() - started, 2)
    )


def _versions() -> dict[str, str]:
    """What else the bytes depend on: Pillow scales and compresses, NumPy draws the random numbers."""
    return {name: version(name) for name in ("pillow", "numpy")}


def _is_there(out: Path, parameters: Mapping[str, object]) -> bool:
    """Whether the world is there; False where it is to be made.

    Raises:
        TwelvefoldError: something else stands at ``out``.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / _STATE).is_file():
        raise TwelvefoldError(f"{out} is there and is not a world: choose another folder, or remove it")
    state = read_json(out / _STATE)
    known = _parameters(state)
    if known != parameters:
        other = ", ".join(f"{key} {known.get(key)}" for key, value in parameters.items() if known.get(key) != value)
        raise TwelvefoldError(f"{out} holds another world ({other}): choose another folder, or remove it")
    for path, size in state["files"].items():
        if not (out / path).is_file() or (out / path).stat().st_size != size:
            raise TwelvefoldError(f"{out / path} is missing or has changed since the world was made: remove {out}")
    return True


def _is_finished(building: Path, parameters: Mapping[str, object]) -> bool:
    """Whether a run that was cut off had everything written, and only its place not taken."""
    state = building / _STATE
    return state.exists() and _parameters(read_json(state)) == parameters


def _parameters(state: Mapping[str, Any]) -> dict[str, object]:
    """Return the parameters that a world was made with, with its generator's version as a number."""
    parameters = dict(state.get("parameters", {}))
    generator = parameters.get("generator")
    return parameters | {"generator": _VERSION_OF_DIGEST.get(str(generator), generator)}


def _start_over_if_other(building: Path, parameters: Mapping[str, object]) -> None:
    """Keep the blocks of a run that was cut off only where it made the same world."""
    known, wanted = building / _PARAMETERS, {**parameters, "block": BLOCK}
    for folder in (building, building / _BLOCKS, *{(building / layout.path).parent for layout in _LAYOUTS}):
        remove_leftovers(folder)
    if known.exists() and read_json(known) == wanted:
        return
    for path in building.iterdir():
        if path.name != ".lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_json(known, wanted)


def _make_blocks(building: Path, pictures: tuple[PlannedImage, ...], seed: int, workers: int) -> None:
    blocks = [pictures[start : start + BLOCK] for start in range(0, len(pictures), BLOCK)]
    folders = [building / _BLOCKS / f"{number:06d}" for number in range(len(blocks))]
    todo = [(folder, block) for folder, block in zip(folders, blocks, strict=True) if not folder.exists()]
    with progress_bar(description="pictures of the world", total=len(pictures)) as bar:
        bar.advance(len(pictures) - sum(len(block) for _, block in todo))
        for made in _run(todo, seed, workers):
            bar.advance(made)


def _run(todo: list[tuple[Path, tuple[PlannedImage, ...]]], seed: int, workers: int) -> Iterator[int]:
    make = partial(_make_block, seed=seed)
    if workers == 1 or len(todo) < 2:
        yield from map(make, todo)
        return
    with create_pool(min(workers, len(todo))) as running:
        yield from running.map(make, todo)


def _make_block(block: tuple[Path, tuple[PlannedImage, ...]], *, seed: int) -> int:
    folder, pictures = block
    with atomic_folder(folder) as unfinished:
        save_block(pictures, seed, unfinished)
    return len(pictures)


def _finish(building: Path, pictures: tuple[PlannedImage, ...], parameters: Mapping[str, object]) -> None:
    """Official files from the sheets, pictures to their places, and the state last."""
    folders = sorted((building / _BLOCKS).iterdir())
    sizes = {}
    with progress_bar(description="official files", total=len(_LAYOUTS)) as bar:
        for layout in _LAYOUTS:
            sizes[layout.path] = write_official(building / layout.path, layout, folders)
            bar.advance()
    write_json(building / _TWINS, _twins(pictures))
    sizes[_TWINS] = (building / _TWINS).stat().st_size
    for folder in folders:
        _move_images(folder, building)
    examples = _examples(read_json(folder / "examples.json") for folder in folders)
    state = {
        "parameters": parameters,
        "examples": examples,
        "reader_options": _reader_options(examples),
        "files": sizes,
    }
    write_json(building / _STATE, state)


def _move_images(block: Path, building: Path) -> None:
    """Move what is still there: a run that was cut off has moved some of it."""
    for source in sorted((block / "images").rglob("*")):
        target = building / source.relative_to(block)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            source.replace(target)


def _twins(pictures: tuple[PlannedImage, ...]) -> list[dict[str, object]]:
    """Which picture shows another one's scene, and whether they are one photograph to a person."""
    return [
        {
            "keys": image_keys(twin),
            "of": image_keys(pictures[twin.scene]),
            "how": twin.twin,
            "near_duplicate": twin.twin != "changed",
        }
        for twin in pictures
        if twin.twin
    ]


def _examples(counts: Iterable[Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """task -> split -> number of examples, as the readers split them with ``_reader_options``."""
    total: Counter[str] = Counter()
    for block in counts:
        total.update(block)
    examples = {task: {split: total[f"{task} {split}"] for split in ("train", "val", "test")} for task in TASKS}
    vgqa = examples["vgqa"]  # its reader has one length for both tails
    vgqa["train"] += vgqa["val"] - vgqa["test"]
    vgqa["val"] = vgqa["test"]
    return examples


def _reader_options(examples: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """How many of the last questions validate or, at VG QA, test, and as many before those validate."""
    return {
        "vqav2": {"minval": examples["vqav2"]["val"]},
        "gqa": {"minval": examples["gqa"]["val"]},
        "vgqa": {"tail": examples["vgqa"]["test"]},
    }


def _put_in_place(building: Path, out: Path) -> None:
    """Take the scaffold down and give the world its name. The lock goes last: a second run must wait till then."""
    shutil.rmtree(building / _BLOCKS, ignore_errors=True)
    (building / _PARAMETERS).unlink(missing_ok=True)
    (building / ".lock").unlink()
    building.replace(out)
