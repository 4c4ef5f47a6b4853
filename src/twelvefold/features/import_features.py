"""``twelvefold features import``: feature files of other projects, once, into the region store that everything reads.

Records are taken in the file's order, a block at a time: a block is one shard on disk and a note beside it that says
how far reading came, so memory stays flat, a call that was killed goes on where it was, and the bytes come out the
same. Several files, one after the other, fill one store: a picture that is in it already stays as it is. Paper:
section 3, image regions.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from twelvefold.features.formats.candidates import Candidates, candidates_of, digest, matched
from twelvefold.features.formats.image_names import check_source, picture_key
from twelvefold.features.formats.open_source import open_source
from twelvefold.features.formats.record import Boxes, Format, Problem, Reading, Record, RecordError, Source
from twelvefold.progress import progress_bar
from twelvefold.schema import ImageKey, Regions, TwelvefoldError
from twelvefold.store.atomic_files import digest_value, lock_folder, read_json, remove_leftovers, write_json
from twelvefold.store.region_store import MANIFEST, SUFFIX, RegionStore, ShardWriter, finish_store, read_shard_header

T = TypeVar("T")

BLOCK = 128
"""Records in a block: 100 MB of the published float32 features. A kill costs two: one being read, one being written."""
NOTES = "imports"
"""The folder of notes beside the stores ``detected`` and ``given``."""
UNFINISHED = "a feature import that was interrupted"


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import did. Counts are of the whole file, ``seconds`` of this call (0 where nothing was left to do).

    already: pictures that the store had from another file. refused: records left out, noted: oddities that were let
    through, each with its place. checksum: of what was read, record by record. digest: of the store.
    """

    store: Path
    name: str
    format: str
    records: int
    pictures: int
    regions: int
    already: int
    refused: tuple[Problem, ...]
    noted: tuple[Problem, ...]
    checksum: str
    digest: str
    bytes_written: int
    seconds: float


class Block(msgspec.Struct):
    """The note of a block: what became of its records, and where reading goes on behind it."""

    shard: str = ""
    after: str = ""
    steps: int = 0
    records: int = 0
    already: int = 0
    regions: int = 0
    keys: list[str] = []
    digests: list[str] = []
    refused: list[Problem] = []
    noted: list[Problem] = []
    last: bool = False


class Asked(msgspec.Struct):
    """What an import was asked for: the same call goes on, another is refused."""

    file: str
    format: str
    source: str
    boxes: str
    half: bool
    probabilities: bool
    candidates: str
    block: int
    identity: dict[str, str | int]


@dataclass(slots=True)
class Import:
    """One file on its way into a store: where things lie, and what is known so far.

    others: pictures of other files. feature_size, kinds: 0 before the first good record. seen: pictures of this file.
    """

    store: Path
    notes: Path
    name: str
    asked: Asked
    others: frozenset[ImageKey]
    candidates: Candidates
    feature_size: int = 0
    kinds: int = 0
    seen: set[ImageKey] = field(default_factory=set)
    blocks: list[Block] = field(default_factory=list)


def import_features(
    file: Path,
    out: Path,
    *,
    format: Format = "auto",
    source: str = "",
    given: bool = False,
    full: bool = False,
    class_probs: bool = False,
    boxes: Boxes | None = None,
    sizes: Path | None = None,
    match: Path | None = None,
    name: str = "",
    resume: bool = True,
) -> ImportSummary:
    """Read a feature file and leave its regions in ``out/detected`` (``given``: of given boxes, in ``out/given``).

    ``source`` says whose pictures plain numbers are. Half floats are kept unless ``full``; class probabilities where
    ``class_probs``. ``boxes`` overrides how the format writes boxes. ``sizes``: a table of picture sizes for VinVL's.
    ``match``: a data folder whose candidate boxes take the features of the given boxes closest to them.
    ``name``: of the import, the file's where left out. ``resume=False`` begins this file anew.

    Raises:
        TwelvefoldError: no such file or format, a name that may be several datasets', a store of other shape, an
            import of other settings or of another file that was not finished.
    """
    file, out = Path(file), Path(out)
    form, records = open_source(file, format, Reading(boxes, class_probs), sizes)
    if match is not None and not given:
        raise TwelvefoldError("candidate boxes are matched with features of given boxes: say --given besides --match")
    wanted = candidates_of(Path(match)) if match is not None else {}
    asked = Asked(
        file=file.name,
        format=form,
        source=check_source(source),
        boxes=boxes or "",
        half=not full,
        probabilities=class_probs,
        candidates=digest(wanted) if wanted else "",
        block=BLOCK,
        identity=dict(records.identity),
    )
    began = time.monotonic()
    if (out / "extract.json").exists():
        raise TwelvefoldError(f"{out} holds regions that `twelvefold extract` made; choose another folder")
    with lock_folder(out):
        job = _begin(out, "given" if given else "detected", _name(file, name), asked, wanted, resume)
        worked = not (job.blocks and job.blocks[-1].last)
        if worked:
            _work(job, records)
        store = _finish(job, records)
    return _summary(job, records, store, time.monotonic() - began if worked else 0.0)


def _name(file: Path, asked: str) -> str:
    """What an import, its notes and its shards are called."""
    whole = file.parent if file.name == "data.mdb" else file
    name = asked or re.sub(r"[^\w.+-]", "_", whole.resolve().name.removesuffix(".lmdb").removesuffix(".tsv"))
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise TwelvefoldError(f"an import is called by letters, digits and . _ + - (--name), got {name!r}")
    return name


def _begin(out: Path, store: str, name: str, asked: Asked, candidates: Candidates, resume: bool) -> Import:
    """What was done of this import, after seeing to it that it is this one and no other is half done."""
    notes, folder = out / NOTES / store / name, out / store
    before = _asked(notes)
    kept = any(block.keys for block in _blocks(notes))
    if before is not None and (not resume or (before != asked and not kept)):
        _forget(folder, notes)
        before = None
    if before is not None and before != asked:
        new, old = msgspec.to_builtins(asked), msgspec.to_builtins(before)
        changed = ", ".join(f"{key} was {old[key]!r}, is {new[key]!r}" for key in new if new[key] != old[key])
        raise TwelvefoldError(
            f"{folder} holds an import named {name!r} of other settings ({changed}); "
            "begin it anew (--no-resume), or call it something else (--name)"
        )
    for other in _imports(out / NOTES / store):
        blocks = _blocks(other)
        if other.name != name and blocks and not blocks[-1].last:
            raise TwelvefoldError(f"{folder} holds {UNFINISHED}: {other.name}; call that again first, to its end")
    if before is None:
        write_json(notes / "import.json", msgspec.to_builtins(asked))
    for place in (notes, folder):
        remove_leftovers(place)
    others = frozenset(
        ImageKey.parse(key)
        for other in _imports(out / NOTES / store)
        if other.name != name
        for block in _blocks(other)
        for key in block.keys
    )
    job = Import(folder, notes, name, asked, others, candidates, blocks=_blocks(notes))
    job.seen = {ImageKey.parse(key) for block in job.blocks for key in block.keys}
    _shape(job)
    return job


def _forget(folder: Path, notes: Path) -> None:
    """Remove what an import left; the manifest first, so that no store looks whole that isn't."""
    (folder / MANIFEST).unlink(missing_ok=True)
    for block in _blocks(notes):
        if block.shard:
            (folder / block.shard).unlink(missing_ok=True)
    shutil.rmtree(notes)


def _shape(job: Import) -> None:
    """Take width and precision from the shards that are there.

    Raises:
        TwelvefoldError: the store keeps other precision, or probabilities where none were asked for.
    """
    shards = [b.shard for notes in _imports(job.notes.parent) for b in _blocks(notes) if b.shard]
    if not shards:
        return
    head = read_shard_header(job.store / shards[0])
    keeps = (head.bytes_per_number == 2, head.num_categories > 0)
    if keeps != (job.asked.half, job.asked.probabilities):
        what = f"{'half' if keeps[0] else 'full'} floats, {'with' if keeps[1] else 'without'} class probabilities"
        raise TwelvefoldError(f"{job.store} keeps {what}; import with the same (--full, --class-probs), or elsewhere")
    job.feature_size, job.kinds = head.feature_size, head.num_categories


def _work(job: Import, source: Source) -> None:
    records = source.records(job.blocks[-1].after if job.blocks else "")
    # A block is written while the next one is read: half of the time goes into either, and neither needs the other.
    with (
        progress_bar(description=f"{job.name}, {source.unit}", total=source.total) as bar,
        ThreadPoolExecutor(1, "shards") as behind,
    ):
        bar.advance(sum(block.steps for block in job.blocks))
        written: Future[None] | None = None
        while not (job.blocks and job.blocks[-1].last):
            number = len(job.blocks)
            block, shard = _block(job, islice(records, BLOCK), number)
            if written is not None:
                written.result()
            written = behind.submit(_leave, shard, block, job.notes / f"{number:06d}.json")
            job.blocks.append(block)
            bar.advance(block.steps)
        if written is not None:
            written.result()


def _leave(shard: ExitStack, block: Block, note: Path) -> None:
    """Write a block's shard, then the note that says it is done."""
    shard.close()
    write_json(note, msgspec.to_builtins(block))


def _block(job: Import, records: Iterator[Record], number: int) -> tuple[Block, ExitStack]:
    """Read one block's records. Its shard, where it has one, is written when the stack is closed."""
    block = Block(after=job.blocks[-1].after if job.blocks else "")
    with ExitStack() as stack:
        writer: ShardWriter | None = None
        for record in records:
            block.records, block.steps, block.after = block.records + 1, block.steps + record.steps, record.after
            block.digests.append(record.digest)
            try:
                key, regions = _usable(job, record)
                if key in job.others:
                    block.already += 1
                    continue
                if key in job.candidates:
                    regions, lack = matched(regions, job.candidates[key])
                    block.refused += [Problem(record.where, lack)] if lack else []
                if writer is None:
                    block.shard = f"{job.name}-{number:06d}{SUFFIX}"
                    writer = stack.enter_context(_writer(job, job.store / block.shard, regions))
                _add(writer, key, regions)
            except RecordError as error:
                block.refused.append(Problem(record.where, str(error)))
                continue
            job.seen.add(key)
            block.keys.append(str(key))
            block.regions += len(regions.boxes_px)
            block.noted += [Problem(record.where, note) for note in record.notes]
        block.last = block.records < BLOCK
        return block, stack.pop_all()


def _usable(job: Import, record: Record) -> tuple[ImageKey, Regions]:
    """The picture's key and its regions.

    Raises:
        RecordError: the record can't be used, or its picture came before in this very file.
    """
    if record.regions is None:
        raise RecordError(record.problem)
    key = picture_key(record.name, job.asked.source)
    if key in job.seen:
        raise RecordError(f"picture {key} came before in this file; the first one counts")
    return key, record.regions


def _writer(job: Import, path: Path, regions: Regions) -> ShardWriter:
    """A shard of the store's shape; the first good record says how wide features and probabilities are."""
    if not job.feature_size:
        job.feature_size = regions.features.shape[1]
        job.kinds = 0 if regions.class_probs is None else regions.class_probs.shape[1]
    return ShardWriter(path, feature_size=job.feature_size, num_categories=job.kinds, half=job.asked.half)


def _add(writer: ShardWriter, key: ImageKey, regions: Regions) -> None:
    try:
        writer.add(key, regions)
    except TwelvefoldError as error:
        raise RecordError(str(error)) from None


def _finish(job: Import, source: Source) -> RegionStore:
    """The manifest over the shards of every import, in the order of their names; nothing where it is there already."""
    there = {notes.name: (_asked(notes), _blocks(notes)) for notes in _imports(job.notes.parent)}
    shards = [block.shard for _, blocks in there.values() for block in blocks if block.shard]
    if not shards:
        problems = [problem for block in job.blocks for problem in block.refused] + source.amiss()
        first = "; ".join(map(str, problems[:3])) or "it holds no record"
        raise TwelvefoldError(f"nothing of {job.asked.file} could be imported: {first}")
    info = {
        "made_by": "twelvefold features import",
        "imports": [
            {"name": name, **_stable(asked), "checksum": _checksum(blocks), "records": sum(b.records for b in blocks)}
            for name, (asked, blocks) in there.items()
            if asked is not None
        ],
    }
    if (job.store / MANIFEST).exists():
        store = RegionStore.open(job.store)
        if store.info == info:
            return store
    kinds = [f"class {column}" for column in range(job.kinds)]
    return finish_store(job.store, shards, info=info, categories=kinds)


def _summary(job: Import, source: Source, store: RegionStore, seconds: float) -> ImportSummary:
    blocks = job.blocks
    return ImportSummary(
        store=job.store,
        name=job.name,
        format=job.asked.format,
        records=sum(block.records for block in blocks),
        pictures=sum(len(block.keys) for block in blocks),
        regions=sum(block.regions for block in blocks),
        already=sum(block.already for block in blocks),
        refused=(*(problem for block in blocks for problem in block.refused), *source.amiss()),
        noted=tuple(problem for block in blocks for problem in block.noted),
        checksum=_checksum(blocks),
        digest=store.digest,
        bytes_written=sum((job.store / block.shard).stat().st_size for block in blocks if block.shard),
        seconds=seconds,
    )


def _imports(notes: Path) -> list[Path]:
    return sorted(path for path in notes.iterdir() if (path / "import.json").exists()) if notes.is_dir() else []


def _asked(notes: Path) -> Asked | None:
    path = notes / "import.json"
    return _typed(path, Asked) if path.exists() else None


def _blocks(notes: Path) -> list[Block]:
    """The finished blocks of an import, in order."""
    return [_typed(path, Block) for path in sorted(notes.glob("[0-9]*.json"))]


def _typed(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.convert(read_json(path), kind)
    except msgspec.ValidationError as error:
        raise TwelvefoldError(f"{path} was changed ({error}); begin the import anew (--no-resume)") from None


def _stable(asked: Asked) -> dict[str, Any]:
    return {key: value for key, value in msgspec.to_builtins(asked).items() if key not in ("half", "identity")}


def _checksum(blocks: list[Block]) -> str:
    return digest_value([digest for block in blocks for digest in block.digests])
