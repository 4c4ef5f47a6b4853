"""``twelvefold features unpack``: the images of img2dataset's shards as files, which ``extract`` reads."""

from __future__ import annotations

from pathlib import Path

import msgspec

from twelvefold.datasets import conceptual_captions
from twelvefold.datasets.reading import shards
from twelvefold.progress import track
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files


class UnpackSummary(msgspec.Struct, frozen=True):
    """What was unpacked. ``new_images``: by this call. ``without_images``: shards that have captions only."""

    folder: Path
    num_shards: int
    new_images: int
    without_images: list[str]


def unpack_shards(data: Path) -> UnpackSummary:
    """Write the images of img2dataset's shards below DATA/images/conceptual_captions. A second call does what is left.

    Args:
        data: A data folder with shards in conceptual_captions/train and conceptual_captions/val.

    Raises:
        TwelvefoldError: there are no shards, one is damaged, or the disk is full.
    """
    source = conceptual_captions.TASK.name
    folder, num_shards, new_images, without = data / "images" / source, 0, 0, list[str]()
    for split in ("train", "val"):
        split_folder = conceptual_captions.shard_folder(data, split)
        stems = {path.stem for path in shards.list_shards(split_folder)}
        for stem in track(sorted(stems), description=f"shards of {split}"):
            tar, table = (split_folder / f"{stem}{suffix}" for suffix in shards.SUFFIXES)
            num_shards += 1
            target, count = folder / split / stem, 0
            for name, content in shards.read_images(tar if tar.exists() else table):
                count += 1
                if not (target / name).exists():
                    atomic_files.write_bytes(target / name, content)
                    new_images += 1
            without += [] if count or target.is_dir() else [f"{split}/{stem}"]
    if not num_shards:
        raise TwelvefoldError(
            f"no shards of img2dataset (.tar or .parquet) in {data / source / 'train'} and {data / source / 'val'}"
        )
    return UnpackSummary(folder, num_shards, new_images, without)
