"""Conceptual Captions, to pretrain on: a caption and the web address of its picture. Paper: section 3.1, 4 ("3.3 M").

Home: Google's page "Conceptual Captions". Licence: captions free for any use; pictures belong to their publishers,
and many addresses are dead: examples without regions are left out and counted (``without_regions``).

Files, in ``conceptual_captions/``: Google's ``Train_GCC-training.tsv`` (3,318,333 rows, caption TAB address, no
header) and ``Validation_GCC-1.1.0-Validation.tsv`` (15,840), or the original project's ``caption_train.json`` and
``caption_val.json``, which name each caption's picture.

Splits: train and val as Google's; no test.

A picture is ``conceptual_captions/<n>``, n being what names its features: of the JSON's pictures their name, of an
address the unsigned CRC-32 that the older ViLBERT project used. Of 3.3 M addresses some 2,500 share theirs with
another, by the birthday sum, and one caption in 2,500 may then lie with another's picture; ``key="xxh3"``, 16
hexadecimal digits that no two share, is for regions of your own, made of files so named.

One example per row, in the file's order, with the row's number as its id; its picture is the positive pair. Texts
lose the blanks at their ends.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, get_args

import xxhash

from twelvefold.datasets.reading.records import BadRecords, Row, Source, checked, present
from twelvefold.schema import Example, ImageKey, Pair, PositivePair, Split, TaskSpec, TwelvefoldError

TASK = TaskSpec(
    name="conceptual_captions",
    title="Conceptual Captions",
    family="retrieval",
    head="retrieval",
    metric="recall_at_1",
    max_tokens=36,
    batch_size=512,
    lr=1e-4,
    max_regions=37,
    epochs=10,
)
"""Numbers: of the original's pretraining program (36 regions and IMG)."""
NAMES: dict[Split, tuple[str, str]] = {
    "train": ("Train_GCC-training.tsv", "caption_train.json"),
    "val": ("Validation_GCC-1.1.0-Validation.tsv", "caption_val.json"),
}

Key = Literal["crc32", "xxh3"]


def crc32(address: str) -> str:
    """The unsigned CRC-32 of an address, as decimal digits."""
    return str(zlib.crc32(address.encode()))


def xxh3(address: str) -> str:
    """The 64-bit XXH3 of an address, as 16 hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(address.encode())


KEYS: dict[Key, Callable[[str], str]] = {"crc32": crc32, "xxh3": xxh3}


def files(root: Path, split: Split, *, key: Key = "crc32") -> list[Path]:
    """The split's file, none for test.

    Raises:
        TwelvefoldError: it is missing, or ``key`` has no such value.
    """
    if key not in get_args(Key):
        raise TwelvefoldError(f"{TASK.name}: expected key one of {', '.join(get_args(Key))}, got {key!r}")
    folder = root / "conceptual_captions"
    return present(TASK.name, [[folder / name for name in NAMES[split]]] if split in NAMES else [])


def read(root: Path, split: Split, *, bad: BadRecords, key: Key = "crc32") -> Iterator[Example]:
    """One example per caption of a split, label PositivePair(0)."""
    for path in files(root, split, key=key):
        source = Source(TASK.name, path, bad)
        yield from checked(_listed(source) if path.suffix == ".json" else _rows(source, KEYS[key]))


def _rows(source: Source, key: Callable[[str], str]) -> Iterator[Row]:
    """Google's rows. A caption has no TAB, nor has an address."""
    number = 0
    with source.path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            record = f"line {number}"
            try:
                parts = line.decode().rstrip("\r\n").split("\t")
            except UnicodeDecodeError as error:
                source.refuse(record, f"expected UTF-8: {error}")
                continue
            if len(parts) != 2 or not parts[1].strip():
                source.refuse(record, f"expected a caption, a TAB and an address, got {line[:160]!r}")
                continue
            yield source, record, _example(str(number), parts[0], key(parts[1].strip()))
    if not number:
        raise TwelvefoldError(f"{TASK.name}: {source.path} is empty; expected a caption and an address on each line")


def _listed(source: Source) -> Iterator[Row]:
    """The original project's captions by the names of their pictures."""
    for name, raw in source.mapping().items():
        caption = source.decode(f"[{name!r}]", raw, str)
        if caption is None:
            continue
        if not name.strip():
            source.refuse(f"[{name!r}]", "expected the name of a picture, got an empty one")
        else:
            yield source, f"[{name!r}]", _example(name, caption, name)


def _example(id_: str, caption: str, picture: str) -> Example:
    pair = Pair(ImageKey(TASK.name, picture), caption.strip())
    return Example(id_, (pair,), PositivePair(0))
