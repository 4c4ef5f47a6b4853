"""Write a world: images and official files of all tasks.

Images are made in blocks, each by one process and saved as a whole; at the end the shards of the blocks are
concatenated to the official files. A world appears in its folder when it is complete. Until then it is in a hidden
folder next to it, where a second run continues.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from twelvefold.datasets.reading.options import WORLD_FILE, WorldFile, read_world_file
from twelvefold.progress import progress_bar
from twelvefold.schema import TwelvefoldError
from twelvefold.store.atomic_files import atomic_folder, lock_folder, read_json, remove_leftovers, write_json
from twelvefold.store.steps import Step, StepCache, block_steps, run_steps
from twelvefold.world.blocks import SCENES, image_keys, save_added, save_block
from twelvefold.world.formats import ADDED_LAYOUTS, ADDED_WRITERS, LAYOUTS
from twelvefold.world.formats.official import write_official
from twelvefold.world.sources import SET_SIZE, TASKS, PlannedImage, plan_images

VERSION: Final = 2
"""Version of the worlds that this package draws. Increase it when a change under ``world/`` writes other bytes."""

_WITHOUT_ADDED: Final = 1
"""Version of worlds that have the files of the twelve tasks only, which are the same; the others are added."""

_VERSION_OF_DIGEST: Final = {"7a31f0169d1a87f5a0674e257873ceec": 1}
"""Worlds made before versions had numbers contain a digest of the source files instead."""

BLOCK_SIZE: Final = 16 * SET_SIZE
"""Images that a process makes at a time: whole NLVR2 sets, and few enough that a killed run loses little."""

_BLOCKS, _PARAMETERS, _STATE, _DUPLICATES = ".blocks", "parameters.json", WORLD_FILE, "truth/near_duplicates.json"
_LAYOUTS: Final = (*LAYOUTS, SCENES)


class BlockRecord(msgspec.Struct, frozen=True):
    """A block that is done, with its number of images."""

    images: int


@dataclass(frozen=True, slots=True)
class WorldSummary:
    """The result of :func:`make_world`.

    ``examples``: task -> split -> number. ``reader_options``: task -> options that its reader needs for this world,
    because the publishers' files are larger. ``made``: False if the world existed.
    """

    folder: Path
    images: int
    seed: int
    examples: Mapping[str, Mapping[str, int]]
    reader_options: Mapping[str, Mapping[str, int]]
    made: bool
    seconds: float


def make_world(out: Path, *, images: int = 2000, seed: int = 0, processes: int | None = None) -> WorldSummary:
    """Write the drawn world: images and their annotations in the official formats of the twelve tasks and others.

    A world that exists with the same arguments is kept; if it is of version 1, the files of Flickr30k Entities are
    added to it. One that was interrupted is finished.

    Args:
        out: Folder of the world. It must be new or empty, or contain the same world.
        images: Number of different images, at least 100.
        seed: Random seed. Worlds with different seeds have different images, annotations and ids.
        processes: Number of processes, one per core by default. The files do not depend on it.

    Raises:
        TwelvefoldError: Fewer than 100 images, ``out`` contains something else, another process writes the world, or
            the disk is full.
    Paper: the datasets of section 2.1, whose files the world replaces, and their overlaps (Table 1).
    """
    started = time.monotonic()
    out = Path(out).absolute()
    plan = plan_images(images, seed)
    # The bytes depend on Pillow, which scales and compresses, and on NumPy, which draws random numbers.
    libraries = {name: version(name) for name in ("pillow", "numpy")}
    parameters = {"images": images, "seed": seed, "generator": VERSION, **libraries}
    exists = _exists(out, parameters)
    if not exists:
        building = out.with_name(f".{out.name}.building")
        with lock_folder(building):
            if not _is_finished(building, parameters):
                _clear_if_other_world(building, parameters)
                folders = _make_blocks(building, plan, seed, (os.cpu_count() or 1) if processes is None else processes)
                _finish(building, folders, plan, parameters)
            _publish(building, out)
    elif _read_parameters(_read_state(out)) != parameters:
        _add_files(out, plan, seed, parameters)
    state = _read_state(out)
    seconds = round(time.monotonic() - started, 2)
    return WorldSummary(out, images, seed, state.examples or {}, state.reader_options, not exists, seconds)


def _exists(out: Path, parameters: Mapping[str, object]) -> bool:
    """Return whether the world exists in ``out``.

    Raises:
        TwelvefoldError: ``out`` contains something else, or the world is incomplete.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / _STATE).is_file():
        raise TwelvefoldError(f"{out} exists and is not a world: choose another folder, or remove it")
    state = _read_state(out)
    known = _read_parameters(state)
    if known.get("generator") == _WITHOUT_ADDED:
        known["generator"] = VERSION
    if known != parameters:
        other = ", ".join(f"{key} {known.get(key)}" for key, value in parameters.items() if known.get(key) != value)
        raise TwelvefoldError(f"{out} contains another world ({other}): choose another folder, or remove it")
    for path, size in state.files.items():
        if not (out / path).is_file() or (out / path).stat().st_size != size:
            raise TwelvefoldError(f"{out / path} is missing or has changed since the world was made: remove {out}")
    return True


def _add_files(out: Path, plan: tuple[PlannedImage, ...], seed: int, parameters: Mapping[str, object]) -> None:
    """Add to a world of version 1 the files of the tasks besides the twelve. The state is written last."""
    with atomic_folder(out / _BLOCKS) as block:
        save_added(plan, seed, block)
    sizes = {layout.path: write_official(out / layout.path, layout, [out / _BLOCKS]) for layout in ADDED_LAYOUTS}
    added = _sum_examples([read_json(out / _BLOCKS / "examples.json")])
    shutil.rmtree(out / _BLOCKS)
    state = read_json(out / _STATE)
    for name in _added_tasks():
        state["examples"][name] = added[name]
    write_json(out / _STATE, state | {"parameters": parameters, "files": sizes | state["files"]})


def _added_tasks() -> list[str]:
    return [name for writers in ADDED_WRITERS.values() for name in writers]


def _is_finished(building: Path, parameters: Mapping[str, object]) -> bool:
    """Return whether an interrupted run wrote everything and only did not move it."""
    return (building / _STATE).exists() and _read_parameters(_read_state(building)) == parameters


def _read_state(world: Path) -> WorldFile:
    state = read_world_file(world / _STATE)
    if state is None:
        raise TwelvefoldError(f"{world / _STATE} is missing: remove {world}")
    return state


def _read_parameters(state: WorldFile) -> dict[str, object]:
    """Return the parameters of a world, with the version of its generator as a number."""
    parameters = dict(state.parameters)
    generator = parameters.get("generator")
    return parameters | {"generator": _VERSION_OF_DIGEST.get(str(generator), generator)}


def _clear_if_other_world(building: Path, parameters: Mapping[str, object]) -> None:
    """Keep the blocks of an interrupted run only if it made the same world."""
    known, wanted = building / _PARAMETERS, {**parameters, "block_size": BLOCK_SIZE}
    for folder in (building, building / _BLOCKS, *{(building / layout.path).parent for layout in _LAYOUTS}):
        remove_leftovers(folder)
    if known.exists() and read_json(known) == wanted:
        return
    for path in building.iterdir():
        if path.name != ".lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_json(known, wanted)


def _make_blocks(building: Path, plan: tuple[PlannedImage, ...], seed: int, num_workers: int) -> list[Path]:
    """Make the blocks that an interrupted run has not made, and return the folders of all."""
    blocks = building / _BLOCKS
    steps = [
        Step(step.name, (blocks / step.name, *step.arguments, seed), step.size)
        for step in block_steps(plan, BLOCK_SIZE)
    ]
    records = StepCache(blocks, BlockRecord)
    run_steps(_make_block, steps, description="images of the world", store=records, processes=num_workers)
    return [blocks / step.name for step in steps]


def _make_block(folder: Path, images: tuple[PlannedImage, ...], seed: int) -> BlockRecord:
    with atomic_folder(folder) as unfinished:
        save_block(images, seed, unfinished)
    return BlockRecord(len(images))


def _finish(
    building: Path, folders: list[Path], plan: tuple[PlannedImage, ...], parameters: Mapping[str, object]
) -> None:
    """Write the official files from the shards, move the images, and write the state last."""
    sizes = {}
    with progress_bar(description="official files", total=len(_LAYOUTS)) as bar:
        for layout in _LAYOUTS:
            sizes[layout.path] = write_official(building / layout.path, layout, folders)
            bar.advance()
    write_json(building / _DUPLICATES, _list_variants(plan))
    sizes[_DUPLICATES] = (building / _DUPLICATES).stat().st_size
    for folder in folders:
        _move_images(folder, building)
    examples = _sum_examples(read_json(folder / "examples.json") for folder in folders)
    state = {
        "parameters": parameters,
        "examples": examples,
        "reader_options": _reader_options(examples),
        "files": sizes,
    }
    write_json(building / _STATE, state)


def _move_images(block: Path, building: Path) -> None:
    """Move the images of a block, except for those that an interrupted run has moved."""
    for source in sorted((block / "images").rglob("*")):
        target = building / source.relative_to(block)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            source.replace(target)


def _list_variants(plan: tuple[PlannedImage, ...]) -> list[dict[str, object]]:
    """Return the images that show the scene of another one, and whether people would call them the same image."""
    return [
        {
            "keys": image_keys(image),
            "of": image_keys(plan[image.scene_index]),
            "how": image.variant,
            "near_duplicate": image.variant != "changed",
        }
        for image in plan
        if image.variant
    ]


def _sum_examples(counts: Iterable[Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Return task -> split -> number of examples, as the readers split them with ``_reader_options``."""
    total: Counter[str] = sum(map(Counter, counts), Counter())
    names = *TASKS, *_added_tasks()
    examples = {task: {split: total[f"{task} {split}"] for split in ("train", "val", "test")} for task in names}
    vgqa = examples["vgqa"]  # its reader takes val and test of the same length
    vgqa["train"] += vgqa["val"] - vgqa["test"]
    vgqa["val"] = vgqa["test"]
    return examples


def _reader_options(examples: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Return how many of the last questions are val or, for VG QA, test; as many before those are its val."""
    return {
        "vqav2": {"minval": examples["vqav2"]["val"]},
        "gqa": {"minval": examples["gqa"]["val"]},
        "vgqa": {"tail": examples["vgqa"]["test"]},
    }


def _publish(building: Path, out: Path) -> None:
    """Remove the temporary files and rename the folder. The lock goes last, so that a second run waits until then."""
    shutil.rmtree(building / _BLOCKS, ignore_errors=True)
    (building / _PARAMETERS).unlink(missing_ok=True)
    (building / ".lock").unlink()
    building.replace(out)
