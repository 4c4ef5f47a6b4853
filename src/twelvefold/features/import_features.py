"""``twelvefold features import``: convert feature files of other projects to the region store that everything reads.

Records are read in the file's order, one block at a time. A block is one shard on disk and a JSON file with the
position after its last record. So memory use is constant, an interrupted call continues, and the resulting bytes are
the same. Several files can be imported into one store; an image that it already has is not replaced. Paper: section
3.1, image region features.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from twelvefold.config.extract import ImportConfig
from twelvefold.features.formats.candidates import (
    CandidateBoxes,
    digest_candidates,
    match_candidates,
    read_candidate_boxes,
)
from twelvefold.features.formats.image_names import check_source, parse_image_key
from twelvefold.features.formats.open_feature_file import open_feature_file
from twelvefold.features.formats.record import FeatureFile, FeatureRecord, Problem, RecordError, RegionsWithWarnings
from twelvefold.features.import_state import (
    IMPORTS,
    ImportedBlock,
    ImportSettings,
    list_imports,
    read_blocks,
    read_settings,
)
from twelvefold.schema import ImageKey, Regions, TwelvefoldError
from twelvefold.store.atomic_files import digest_value, lock_folder, remove_leftovers, write_json
from twelvefold.store.region_shard import read_shard_header
from twelvefold.store.region_store import MANIFEST, SUFFIX, RegionStore, ShardWriter, finish_store
from twelvefold.store.steps import Step, StepCache, run_steps

BLOCK = 128
"""Records per block: 100 MB of the published float32 features. An interruption loses up to two: the block being read
and the block being written."""

SUMMARY_KEYS = {
    "num_records": "records",
    "num_images": "pictures",
    "num_regions": "regions",
    "num_present": "already",
    "rejected": "refused",
    "warnings": "noted",
}
"""Attribute of ``FeatureImportSummary`` -> key in the JSON of ``twelvefold features import``."""


class FeatureImportSummary(msgspec.Struct, frozen=True, kw_only=True, rename=SUMMARY_KEYS):
    """Result of an import. Counts refer to the whole file, ``seconds`` to this call (0 if nothing was left to do).

    num_present: images that the store already had from another file. rejected: records without regions in the store.
    warnings: unusual content of stored records. checksum: of all records read. digest: of the store.
    """

    store: Path
    name: str
    format: str
    num_records: int
    num_images: int
    num_regions: int
    num_present: int
    rejected: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    checksum: str
    digest: str
    bytes_written: int
    seconds: float


@dataclass(slots=True)
class ImportJob:
    """State of the import of one file into a store.

    state_folder: folder with the JSON files of this import. present: images of other files in the store. feature_size,
    num_categories: 0 before the first usable record. imported: images of this file.
    """

    store: Path
    state_folder: Path
    name: str
    settings: ImportSettings
    present: frozenset[ImageKey]
    candidates: CandidateBoxes
    feature_size: int = 0
    num_categories: int = 0
    imported: set[ImageKey] = field(default_factory=set)
    blocks: list[ImportedBlock] = field(default_factory=list)


def import_features(
    file: Path, out: Path, config: ImportConfig | None = None, *, resume: bool = True
) -> FeatureImportSummary:
    """Read a feature file and store its regions as ``twelvefold extract`` would. An interrupted call continues.

    Several files, imported one after the other, fill one store.

    Args:
        file: An LMDB (the original project's, its older base64 variant, MMF's), a table (bottom-up attention, LXMERT,
            VinVL), HDF5, or a folder of .npy or .npz files.
        out: Folder for the stores ``detected`` and ``given``.
        config: How the file is read. Default: its format is detected, and its regions go to ``detected``.
        resume: Continue an interrupted import of this file; if false, start it over.

    Raises:
        TwelvefoldError: no such file or format, an ambiguous image name, a store with another shape, another import
            that is not finished, or one of the same name with other settings.
    """
    file, out, config = Path(file), Path(out), config or ImportConfig()
    format_name, feature_file = open_feature_file(file, config)
    if config.match is not None and not config.given:
        raise TwelvefoldError("only features of given boxes are matched with candidate boxes: use --given with --match")
    candidates = read_candidate_boxes(Path(config.match)) if config.match is not None else {}
    settings = ImportSettings(
        file=file.name,
        format=format_name,
        source=check_source(config.source),
        boxes=config.boxes or "",
        half=not config.full,
        class_probs=config.class_probs,
        candidates=digest_candidates(candidates) if candidates else "",
        block=BLOCK,
        identity=dict(feature_file.identity),
    )
    start = time.monotonic()
    if (out / "extract.json").exists():
        raise TwelvefoldError(f"{out} holds regions written by `twelvefold extract`; choose another folder")
    with lock_folder(out):
        store_name = "given" if config.given else "detected"
        job = _start_job(out, store_name, _import_name(file, config.name), settings, candidates, resume)
        is_finished = bool(job.blocks) and job.blocks[-1].last
        if not is_finished:
            _import_blocks(job, feature_file)
        store = _finish_store(job, feature_file)
    return _summarize(job, feature_file, store, 0.0 if is_finished else time.monotonic() - start)


def _import_name(file: Path, name: str) -> str:
    """Return the name of an import, its state folder and its shards."""
    path = file.parent if file.name == "data.mdb" else file
    name = name or re.sub(r"[^\w.+-]", "_", path.resolve().name.removesuffix(".lmdb").removesuffix(".tsv"))
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise TwelvefoldError(f"the name of an import (--name) has letters, digits and . _ + - only, got {name!r}")
    return name


def _start_job(
    out: Path, store: str, name: str, settings: ImportSettings, candidates: CandidateBoxes, resume: bool
) -> ImportJob:
    """Return the state of this import; check its settings, and that no other import is unfinished."""
    state_folder, folder = out / IMPORTS / store / name, out / store
    previous = read_settings(state_folder)
    has_images = any(block.image_keys for block in read_blocks(state_folder))
    if previous is not None and (not resume or (previous != settings and not has_images)):
        _remove_import(folder, state_folder)
        previous = None
    if previous is not None and previous != settings:
        new, old = msgspec.to_builtins(settings), msgspec.to_builtins(previous)
        changed = ", ".join(f"{key} was {old[key]!r}, is {new[key]!r}" for key in new if new[key] != old[key])
        raise TwelvefoldError(
            f"{folder} holds an import named {name!r} with other settings ({changed}); "
            "start it over (--no-resume), or use another name (--name)"
        )
    others = [other for other in list_imports(out / IMPORTS / store) if other.name != name]
    for other in others:
        blocks = read_blocks(other)
        if blocks and not blocks[-1].last:
            raise TwelvefoldError(
                f"{folder} holds an import that was interrupted: {other.name}; finish that import first"
            )
    if previous is None:
        write_json(state_folder / "import.json", msgspec.to_builtins(settings))
    remove_leftovers(state_folder)
    remove_leftovers(folder)
    present = frozenset(
        ImageKey.parse(key) for other in others for block in read_blocks(other) for key in block.image_keys
    )
    job = ImportJob(folder, state_folder, name, settings, present, candidates, blocks=read_blocks(state_folder))
    job.imported = {ImageKey.parse(key) for block in job.blocks for key in block.image_keys}
    _adopt_shape(job)
    return job


def _remove_import(folder: Path, state_folder: Path) -> None:
    """Remove an import's files; the manifest first, so that no incomplete store looks complete."""
    (folder / MANIFEST).unlink(missing_ok=True)
    for block in read_blocks(state_folder):
        if block.shard:
            (folder / block.shard).unlink(missing_ok=True)
    shutil.rmtree(state_folder)


def _adopt_shape(job: ImportJob) -> None:
    """Take feature size and number of categories from the store's existing shards.

    Raises:
        TwelvefoldError: the store has another precision, or only one of the two has class probabilities.
    """
    imports = list_imports(job.state_folder.parent)
    shards = [block.shard for path in imports for block in read_blocks(path) if block.shard]
    if not shards:
        return
    header = read_shard_header(job.store / shards[0])
    is_half, has_probs = header.bytes_per_number == 2, header.num_categories > 0
    if (is_half, has_probs) != (job.settings.half, job.settings.class_probs):
        content = f"{'half' if is_half else 'full'} floats, {'with' if has_probs else 'without'} class probabilities"
        raise TwelvefoldError(f"{job.store} holds {content}; use the same --full, --class-probs, or another folder")
    job.feature_size, job.num_categories = header.feature_size, header.num_categories


def _import_blocks(job: ImportJob, feature_file: FeatureFile) -> None:
    """Read and write the blocks that are not finished."""

    def blocks() -> Iterator[Step]:
        yield from [Step(f"{number:06d}", size=block.num_steps) for number, block in enumerate(job.blocks)]
        records = feature_file.records(job.blocks[-1].position if job.blocks else "")
        while not (job.blocks and job.blocks[-1].last):
            number = len(job.blocks)
            block, shard = _read_block(job, islice(records, BLOCK), number)
            job.blocks.append(block)
            yield Step(f"{number:06d}", (block, shard), block.num_steps)

    # A block is written while the next one is read: each takes about half of the time.
    with ThreadPoolExecutor(1, "shards") as writer_thread:
        run_steps(
            _write_block,
            blocks(),
            description=f"{job.name}, {feature_file.unit}",
            store=StepCache(job.state_folder, ImportedBlock),
            executor=writer_thread,
            total=feature_file.total,
        )


def _write_block(block: ImportedBlock, shard: ExitStack) -> ImportedBlock:
    """Write a block's shard, and return the block as its record."""
    shard.close()
    return block


def _read_block(job: ImportJob, records: Iterator[FeatureRecord], number: int) -> tuple[ImportedBlock, ExitStack]:
    """Read the records of a block. Its shard, if it has one, is written when the returned stack is closed."""
    block = ImportedBlock(position=job.blocks[-1].position if job.blocks else "")
    with ExitStack() as stack:
        writer: ShardWriter | None = None
        for record in records:
            block.num_records += 1
            block.num_steps += record.num_steps
            block.position = record.position
            block.digests.append(record.digest)
            try:
                key, (regions, warnings) = _check_record(job, record)
                if key in job.present:
                    block.num_present += 1
                    continue
                if key in job.candidates:
                    regions, error = match_candidates(regions, job.candidates[key])
                    block.rejected += [Problem(record.location, error)] if error else []
                if writer is None:
                    block.shard = f"{job.name}-{number:06d}{SUFFIX}"
                    writer = stack.enter_context(_open_shard(job, job.store / block.shard, regions))
                try:
                    writer.add(key, regions)
                except TwelvefoldError as error:
                    raise RecordError(str(error)) from None
            except RecordError as error:
                block.rejected.append(Problem(record.location, str(error)))
                continue
            job.imported.add(key)
            block.image_keys.append(str(key))
            block.num_regions += len(regions.boxes_px)
            block.warnings += [Problem(record.location, warning) for warning in warnings]
        block.last = block.num_records < BLOCK
        return block, stack.pop_all()


def _check_record(job: ImportJob, record: FeatureRecord) -> tuple[ImageKey, RegionsWithWarnings]:
    """Return the image's key and the record's content.

    Raises:
        RecordError: the record cannot be used, or its image occurred before in this file.
    """
    if isinstance(record.result, Exception):
        raise RecordError(str(record.result))
    key = parse_image_key(record.name, job.settings.source)
    if key in job.imported:
        raise RecordError(f"image {key} occurred before in this file; the first record is used")
    return key, record.result


def _open_shard(job: ImportJob, path: Path, regions: Regions) -> ShardWriter:
    """Open a shard with the store's shape, which the first usable record determines."""
    if not job.feature_size:
        job.feature_size = regions.features.shape[1]
        job.num_categories = 0 if regions.class_probs is None else regions.class_probs.shape[1]
    return ShardWriter(path, feature_size=job.feature_size, num_categories=job.num_categories, half=job.settings.half)


def _finish_store(job: ImportJob, feature_file: FeatureFile) -> RegionStore:
    """Write the manifest over the shards of all imports, sorted by name, unless it is up to date."""
    imports = {path.name: (read_settings(path), read_blocks(path)) for path in list_imports(job.state_folder.parent)}
    shards = [block.shard for _, blocks in imports.values() for block in blocks if block.shard]
    if not shards:
        problems = [problem for block in job.blocks for problem in block.rejected] + feature_file.file_problems()
        reasons = "; ".join(map(str, problems[:3])) or "it holds no record"
        raise TwelvefoldError(f"nothing in {job.settings.file} could be imported: {reasons}")
    info = {
        "made_by": "twelvefold features import",
        "imports": [
            {
                "name": name,
                **_settings_for_info(settings),
                "checksum": _checksum(blocks),
                "records": sum(block.num_records for block in blocks),
            }
            for name, (settings, blocks) in imports.items()
            if settings is not None
        ],
    }
    if (job.store / MANIFEST).exists():
        store = RegionStore.open(job.store)
        if store.info == info:
            return store
    categories = [f"class {column}" for column in range(job.num_categories)]
    return finish_store(job.store, shards, info=info, categories=categories)


def _summarize(job: ImportJob, feature_file: FeatureFile, store: RegionStore, seconds: float) -> FeatureImportSummary:
    blocks = job.blocks
    return FeatureImportSummary(
        store=job.store,
        name=job.name,
        format=job.settings.format,
        num_records=sum(block.num_records for block in blocks),
        num_images=sum(len(block.image_keys) for block in blocks),
        num_regions=sum(block.num_regions for block in blocks),
        num_present=sum(block.num_present for block in blocks),
        rejected=(*(problem for block in blocks for problem in block.rejected), *feature_file.file_problems()),
        warnings=tuple(problem for block in blocks for problem in block.warnings),
        checksum=_checksum(blocks),
        digest=store.digest,
        bytes_written=sum((job.store / block.shard).stat().st_size for block in blocks if block.shard),
        seconds=seconds,
    )


def _settings_for_info(settings: ImportSettings) -> dict[str, Any]:
    return {key: value for key, value in msgspec.to_builtins(settings).items() if key not in ("half", "identity")}


def _checksum(blocks: list[ImportedBlock]) -> str:
    return digest_value([digest for block in blocks for digest in block.digests])
