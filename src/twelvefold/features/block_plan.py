"""Divide the images of an extraction into blocks, so that images that come, go or change cost nothing for the others.

An image is identified by the digest of its file, its keys and its given boxes. The first extraction fills blocks in the
order of the list. A later one keeps every block whose images are all still listed. Of a finished block that has lost
images, the regions of the others are copied to a new block. Images that are new or have changed form further blocks.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from twelvefold.features.image_list import ListedImage
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files

STORES = ("detected", "given")
"""Folders of the two stores that an extraction writes."""

CHANGEABLE = ("pictures", "given_boxes")
"""Settings that may change between two calls: only the images concerned are processed again."""

WAIT_SECONDS = 60.0
"""How long other ranks wait for the plan of rank 0."""


class BlockPlan(msgspec.Struct, frozen=True):
    """The blocks of an extraction.

    listing: digest of all images. blocks: the images of each block, by their identities. copies: blocks whose regions
    are copied, with the earlier block that has them.
    """

    listing: str
    blocks: dict[str, list[str]]
    copies: dict[str, str] = {}


def image_identity(image: ListedImage) -> str:
    """Return a digest that changes with the content of the file, its keys or its given boxes."""
    boxes = [None if each is None else each.tolist() for each in image.given_boxes]
    sizes = [image.stated_sizes] if any(image.stated_sizes) else []
    return atomic_files.digest_value([image.digest, [str(key) for key in image.keys], boxes, *sizes])


def plan_blocks(
    images: Mapping[str, ListedImage],
    previous: BlockPlan | None,
    is_done: Callable[[str], bool],
    size: int,
    used_names: Iterable[str] = (),
) -> BlockPlan:
    """Return the blocks of ``images``, which are given by identity.

    ``is_done``: whether a block of the previous plan is finished. ``size``: of new blocks. ``used_names``: names of
    blocks that have files; new blocks get other names.
    """
    listing = atomic_files.digest_value(list(images))
    old_blocks = {} if previous is None else previous.blocks
    if previous is not None and previous.listing == listing:
        return previous
    blocks: dict[str, list[str]] = {}
    copies: dict[str, str] = {}
    planned: set[str] = set()
    remainders: dict[str, list[str]] = {}
    for name, identities in old_blocks.items():
        remaining = [identity for identity in identities if identity in images]
        if len(remaining) == len(identities):
            blocks[name] = identities
            if previous is not None and name in previous.copies and not is_done(name):
                copies[name] = previous.copies[name]
        elif remaining and is_done(name):
            remainders[name] = remaining
        else:
            continue
        planned.update(remaining)
    new = [identity for identity in images if identity not in planned]
    number = max((int(name) + 1 for name in (*old_blocks, *used_names)), default=0)
    for source, remaining in remainders.items():
        blocks[f"{number:06d}"], copies[f"{number:06d}"] = remaining, source
        number += 1
    for start in range(0, len(new), size):
        blocks[f"{number:06d}"] = new[start : start + size]
        number += 1
    return BlockPlan(listing, blocks, copies)


def prepare_folder(
    out: Path,
    settings: Mapping[str, Any],
    images: Mapping[str, ListedImage],
    is_done: Callable[[str], bool],
    *,
    block_size: int,
    resume: bool,
) -> BlockPlan:
    """Make ``out`` ready, which is empty or has an extraction with the same settings, and return the blocks.

    ``images``: by identity. ``is_done``: whether a block is finished. Rank 0 decides; other ranks wait for it.

    Raises:
        TwelvefoldError: it has an extraction with other settings, or one whose images an earlier version did not list.
    """
    path, plan_path = out / "extract.json", out / "plan.json"
    if not resume:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise TwelvefoldError("under torchrun an extraction cannot start over: remove the folder first")
        for name in (*STORES, "blocks"):
            shutil.rmtree(out / name, ignore_errors=True)
        path.unlink(missing_ok=True)
        plan_path.unlink(missing_ok=True)
    if int(os.environ.get("RANK", "0")):
        return _wait_for_plan(plan_path, plan_blocks(images, None, is_done, block_size).listing)
    previous = atomic_files.read_json(path) if path.exists() else settings
    plan = _read_plan(plan_path)
    changed = [name for name in {**settings, **previous} if previous.get(name) != settings.get(name)]
    if plan is not None:
        changed = [name for name in changed if name not in CHANGEABLE]
    if changed:
        raise TwelvefoldError(
            f"{out} holds regions of another extraction, which differs in: {', '.join(changed)}; "
            "start over (resume=False, --no-resume) or choose another folder"
        )
    for folder in (out, *(out / name for name in (*STORES, "blocks"))):
        atomic_files.remove_leftovers(folder)
    used = () if plan is None else _block_names(out / "blocks")  # without a plan, the first version's names are kept
    new_plan = plan_blocks(images, plan, is_done, block_size, used)
    if new_plan is not plan:
        atomic_files.write_json(plan_path, msgspec.to_builtins(new_plan))
    if previous != settings or not path.exists():
        atomic_files.write_json(path, settings)
    return new_plan


def _wait_for_plan(path: Path, listing: str) -> BlockPlan:
    """Return the plan of rank 0 for the same images.

    Raises:
        TwelvefoldError: rank 0 did not write it within a minute.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        plan = _read_plan(path)
        if plan is not None and plan.listing == listing:
            return plan
        time.sleep(0.2)
    raise TwelvefoldError(f"rank 0 did not write {path} for the same images; see its message")


def _read_plan(path: Path) -> BlockPlan | None:
    return atomic_files.read_optional(path, BlockPlan, problem="is damaged; start over (--no-resume)")


def _block_names(folder: Path) -> set[str]:
    paths = folder.iterdir() if folder.is_dir() else ()
    return {path.stem for path in paths if path.stem.isdecimal() and len(path.stem) == 6}


def remove_unplanned(folders: Sequence[Path], names: Sequence[str]) -> None:
    """Remove the files of blocks that are no longer used; files with other names stay."""
    for folder in folders:
        for name in _block_names(folder) - set(names):
            for path in folder.glob(f"{name}.*"):
                path.unlink(missing_ok=True)
