"""The steps of a preparation; each is keyed by the digest of its inputs and not repeated while these are the same."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from twelvefold import datasets
from twelvefold.config.recipe import DataConfig
from twelvefold.data.negatives import nearest
from twelvefold.datasets.reading import answers, vilbert_mt_files
from twelvefold.datasets.reading.answers import AnswerList
from twelvefold.datasets.reading.examples import read_examples
from twelvefold.datasets.reading.image_sizes import SizeCheck
from twelvefold.datasets.reading.options import world_seed
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.datasets.reading.shared_files import share_decoded_files
from twelvefold.duplicates.evidence import CollectedEvidence
from twelvefold.preparation.entries import Entry, entry_cache, file_entry
from twelvefold.preparation.jobs import (
    CLEANING_VERSIONS,
    SELECTION_VERSIONS,
    TaskRequest,
    make_tables,
    source_digests,
    table_digest,
)
from twelvefold.preparation.pinning import check_digest
from twelvefold.schema import ImageKey, Split, TwelvefoldError
from twelvefold.splits import decide
from twelvefold.splits.filter import select_rows
from twelvefold.splits.manifest import CleanedSplit, CleaningManifest, check_split, read_manifest, write_manifest
from twelvefold.splits.policy import NO_CLEANING, Policy, get_policy
from twelvefold.splits.similarity_limit import SHEET, check_similarity
from twelvefold.splits.split_source import TableSource
from twelvefold.store import atomic_files
from twelvefold.store.example_table import ExampleTable
from twelvefold.store.prepared import (
    CLEANING,
    MANIFEST,
    SPLITS,
    DataSource,
    FileEntry,
    PreparedManifest,
    load_array,
)
from twelvefold.store.region_store import RegionStore
from twelvefold.store.relaxed_gc import relaxed_gc
from twelvefold.store.steps import Step, run_steps


@dataclass(slots=True)
class PreparationSteps:
    """The steps of one call of ``prepare``, in the order of the methods.

    ``store``: detected regions, None to prepare without regions. ``bad_links``: malformed records of id maps.
    ``answer_lists``: those to use instead of counting, by the task that owns each.
    ``entries``: results of finished steps by name. ``new_steps``: names of the steps that this call ran.
    """

    data: Path
    folder: Path
    store: RegionStore | None
    requests: Sequence[TaskRequest]
    config: DataConfig
    processes: int
    bad_links: BadRecords
    answer_lists: Mapping[str, AnswerList] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    new_steps: list[str] = field(default_factory=list)

    def make_tables(self) -> None:
        """Make a table of all examples of every split of every task."""
        steps, digests, skip_bad = list[Step](), dict[str, str](), self.config.skip_bad
        cache = entry_cache(self.folder, digests)
        for request in self.requests:
            missing: dict[Split, str] = {}
            for split in SPLITS:
                step = f"{request.task.name}-{split}"
                digests[step] = table_digest(request, split, self.data, skip_bad=skip_bad)
                if cache.load(step) is None:
                    missing[split] = digests[step]
                    self.new_steps.append(step)
            if missing:
                arguments = (request, missing, self.data, self.folder, skip_bad)
                steps.append(Step(request.task.name, arguments, len(missing)))
        run_steps(make_tables, steps, description="tables", processes=self.processes)
        self.entries |= {step: entry for step in digests if (entry := cache.load(step)) is not None}

    def decide_cleaning(self, policy: str, pinned: CleaningManifest | None) -> CleaningManifest:
        """Write the cleaning manifest, decided from the tables or pinned, and return it."""
        path = self.folder / CLEANING
        if pinned is not None:
            self._run_one(self._copy_cleaning, "cleaning", atomic_files.digest_file(Path(self.config.manifest)), pinned)
            return pinned
        chosen = get_policy(policy, max_similar=self.config.max_similar)
        evidence = decide.collect_policy_evidence(
            self.data,
            chosen,
            cache_dir=self.folder / "made",
            bad=self.bad_links,
            processes=self.processes,
            sources=decide.image_sources(self._table_sources()),
        )
        tables = sorted([step, entry.digest] for step, entry in self.entries.items())
        evidence_inputs = [
            sorted(map(str, evidence.links)),
            evidence.limitations,
            sorted(map(str, evidence.unreadable.items())),
        ]
        digest = atomic_files.digest_value(
            [tables, evidence_inputs, msgspec.to_builtins(chosen), list(CLEANING_VERSIONS)]
        )
        self._run_one(self._write_cleaning, "cleaning", digest, chosen, evidence)
        manifest = read_manifest(path)
        check_digest(manifest, self.config.clean_digest, path)
        return manifest

    def _copy_cleaning(self, digest: str, pinned: CleaningManifest) -> Entry:
        atomic_files.write_bytes(self.folder / CLEANING, Path(self.config.manifest).read_bytes())
        return self._cleaning_entry(pinned, digest)

    def _write_cleaning(self, digest: str, policy: Policy, evidence: CollectedEvidence) -> Entry:
        sources = self._table_sources()
        bad = BadRecords(self.config.skip_bad)
        manifest = decide.decide_removals(sources, policy, evidence, bad=bad, processes=self.processes)
        check_similarity(manifest, self.data, self.folder / SHEET)
        write_manifest(self.folder / CLEANING, manifest)
        return self._cleaning_entry(manifest, digest)

    def _table_sources(self) -> dict[str, dict[Split, TableSource]]:
        return {
            request.task.name: {split: TableSource(self._table_path(request, split)) for split in SPLITS}
            for request in self.requests
        }

    def _cleaning_entry(self, manifest: CleaningManifest, digest: str) -> Entry:
        removed = sum(len(each.removed_ids()) for splits in manifest.splits.values() for each in splits.values())
        size = (self.folder / CLEANING).stat().st_size
        return Entry(digest, {"manifest": FileEntry(CLEANING, size, removed, manifest.digest)})

    @relaxed_gc()
    def select_rows(self, cleaning: CleaningManifest | None, *, check: bool) -> None:
        """Select the rows of each table that are used. ``check``: that the tables are those of the manifest."""
        steps, digests = list[Step](), dict[str, str]()
        for request, split in product(self.requests, SPLITS):
            cleaned = cleaning.split(request.task.name, split) if cleaning else None
            step, limit = f"{request.task.name}-{split}-rows", request.max_examples if split == "train" else 0
            decision = [msgspec.to_builtins(cleaned.source), sorted(cleaned.removed_ids())] if cleaned else []
            regions = [self.store.digest if self.store else "", self.config.without_regions, self.config.scale_boxes]
            table = self._table_entry(request, split)
            digests[step] = atomic_files.digest_value(
                [table.digest, decision, regions, limit, list(SELECTION_VERSIONS)]
            )
            steps.append(Step(step, (request, split, cleaned, digests[step], check)))
        self._run(self._select_split, steps, digests, description="rows selected")

    def _select_split(
        self, request: TaskRequest, split: Split, cleaned: CleanedSplit | None, digest: str, check: bool
    ) -> Entry:
        name = f"{request.task.name}-{split}"
        table = self._open_table(request, split)
        if cleaned and check:
            check_split(table.ids_and_images(), cleaned, f"{request.task.name}, {split}")
        sizes = self._check_sizes(table)
        rows, counts = select_rows(
            table.ids_and_images(),
            cleaned.removed_ids() if cleaned else frozenset[str](),
            images_with_features=self.store,
            allow_missing_features=self.config.without_regions,
            other_sizes=sizes.other,
            limit=request.max_examples if split == "train" else 0,
            split_name=name,
        )
        files = {}
        if counts.kept < counts.read:
            self._write_array(f"rows/{name}.npy", rows)
            files["rows"] = file_entry(self.folder, f"rows/{name}.npy", counts.kept, digest)
        malformed = self._table_entry(request, split).counts.malformed
        return Entry(
            digest,
            files,
            msgspec.structs.replace(counts, malformed=malformed),
            other_sizes={str(image): reason for image, reason in sizes.other.items()},
            scaled=sorted(map(str, sizes.scaled)),
        )

    def images_with_boxes(self) -> set[ImageKey]:
        """Return the images that annotations with boxes refer to."""
        tables = [self._open_table(request, split) for request, split in product(self.requests, SPLITS)]
        return set[ImageKey]().union(*(table.all_images() for table in tables if len(table) and table.has_boxes()))

    def _check_sizes(self, table: ExampleTable) -> SizeCheck:
        """Compare the sizes that a table states with those of the regions' images."""
        check = SizeCheck([self.store.size] if self.store else [], self.config.scale_boxes)
        if self.store is not None:
            check.add_table(table)
        return check

    def make_answer_list(self, owner: TaskRequest) -> None:
        """Write the answer list of the task that owns it."""
        step = f"{owner.task.name}-vocabulary"
        if step in self.entries:
            return
        if owner.task.name in self.answer_lists:
            inputs: list[object] = [atomic_files.digest_value(self.answer_lists[owner.task.name].answers)]
        else:
            sources = [source_digests(owner, self.data, split) for split in ("train", "val")]
            inputs = [sources, self.config.min_count, self.config.skip_bad]
        self._run_one(self._write_answers, step, atomic_files.digest_value(inputs), owner)

    def _write_answers(self, digest: str, owner: TaskRequest) -> Entry:
        answer_list, problems = self._read_answers(owner)
        file = f"vocabularies/{owner.task.name}.json"
        atomic_files.write_json(self.folder / file, answer_list)
        files = {"vocabulary": file_entry(self.folder, file, len(answer_list), digest)}
        return Entry(digest, files, problems=problems)

    @relaxed_gc()
    def _read_answers(self, owner: TaskRequest) -> tuple[list[str], list[str]]:
        """Return an answer list and the malformed records that were left out on the way."""
        if owner.task.name in self.answer_lists:
            return list(self.answer_lists[owner.task.name].answers), []
        dataset: Any = datasets.load_dataset(owner.name)
        bad = BadRecords(skip=self.config.skip_bad)
        if hasattr(dataset, "vocabulary"):
            answer_list = list(dataset.vocabulary(self.data, min_count=self.config.min_count, bad=bad, **owner.options))
            return answer_list, [f"answer list: {rejection}" for rejection in bad.rejected]
        if answer_list := vilbert_mt_files.read_answer_list(dataset.files(self.data, "train", **owner.options)):
            return answer_list, []
        counts = Counter[str]()
        splits: tuple[Split, ...] = ("train", "val")
        with share_decoded_files():
            for split in splits:
                if f"{owner.task.name}-{split}" in self.entries:
                    counts += self._open_table(owner, split).answer_counts()
                else:
                    examples = read_examples(dataset, self.data, split, bad=bad, **owner.options)
                    counts.update(example.chosen_answer for example in examples)
        if not counts.keys() - {""}:
            raise TwelvefoldError(
                f"{owner.name}: no example of train or val has a chosen_answer to make the answer list from; set it in "
                "the reader, define a function vocabulary in its module, or give an answer list"
            )
        try:
            answer_list = answers.frequent_answers(counts, self.config.min_count)
        except TwelvefoldError as error:
            raise TwelvefoldError(f"{owner.name}: {error}") from None
        return answer_list, [f"answer list: {rejection}" for rejection in bad.rejected]

    def answers_by_owner(self) -> dict[str, tuple[str, ...]]:
        """Return the answer lists by the task that owns each."""
        return {
            owner: tuple(atomic_files.read_json(self.folder / entry.file))
            for owner, entry in self._files("vocabulary").items()
        }

    def open_selected(self, request: TaskRequest, split: Split) -> ExampleTable:
        """Return the examples of a split that are used."""
        table, rows = self._open_table(request, split), self.entries[f"{request.task.name}-{split}-rows"]
        return table.select(load_array(self.folder / rows.files["rows"].file)) if "rows" in rows.files else table

    def make_negatives(self, request: TaskRequest, count: int) -> None:
        """Write, for every training image of a retrieval task, the images with the most similar regions."""
        name = request.task.name
        step, rows = f"{name}-negatives", self.entries[f"{name}-train-rows"]
        store = self.store
        if store is None:
            raise TwelvefoldError(f"hard negatives of {name} are made from regions, and there are none")
        digest = atomic_files.digest_value([rows.digest, store.digest, count])
        self._run_one(self._write_negatives, step, digest, request, store, count)

    def _write_negatives(self, digest: str, request: TaskRequest, store: RegionStore, count: int) -> Entry:
        name, table = request.task.name, self.open_selected(request, "train")
        keys, _ = table.first_images()
        means = np.array([store.mean(key) for key in keys], dtype=np.float32).reshape(len(keys), store.feature_size)
        file = f"negatives/{name}.npy"
        self._write_array(file, nearest(means, count))
        files = {"negatives": file_entry(self.folder, file, len(keys), digest)}
        return Entry(digest, files)

    def write_manifest(self, policy: str) -> PreparedManifest:
        """Write what the folder holds, if that has changed, and return it."""
        names = [request.task.name for request in self.requests]
        cleaning = self.entries.get("cleaning")
        rows = {name: {split: self.entries[f"{name}-{split}-rows"] for split in SPLITS} for name in names}
        manifest = PreparedManifest(
            source=DataSource(self.data.resolve().name, world_seed(self.data)),
            data_folder=str(self.data.absolute()),
            reader_options={request.task.name: dict(request.options) for request in self.requests},
            clean=policy != NO_CLEANING,
            policy=policy,
            cleaning=cleaning.files["manifest"] if cleaning else None,
            regions=self.store.digest if self.store else "",
            tasks=[request.task for request in self.requests],
            tables={
                name: {split: self.entries[f"{name}-{split}"].files["table"] for split in SPLITS} for name in names
            },
            rows={
                name: {split: entry.files["rows"] for split, entry in entries.items() if "rows" in entry.files}
                for name, entries in rows.items()
            },
            counts={name: {split: entry.counts for split, entry in entries.items()} for name, entries in rows.items()},
            vocabularies=self._files("vocabulary"),
            negatives=self._files("negatives"),
            problems=[
                *map(str, self.bad_links.rejected),
                *(problem for step in self._steps_with_problems() for problem in self.entries[step].problems),
            ],
            other_sizes={image: reason for entry in self._row_entries() for image, reason in entry.other_sizes.items()},
        )
        path, text = self.folder / MANIFEST, atomic_files.json_text(msgspec.to_builtins(manifest))
        if not path.exists() or path.read_bytes() != text.encode():
            atomic_files.write_text(path, text)
        return manifest

    def num_scaled(self) -> int:
        """Return the number of resized copies whose boxes are scaled."""
        return len({image for entry in self._row_entries() for image in entry.scaled})

    def _row_entries(self) -> list[Entry]:
        return [self.entries[f"{request.task.name}-{split}-rows"] for request in self.requests for split in SPLITS]

    def _steps_with_problems(self) -> list[str]:
        tables = [f"{request.task.name}-{split}" for request in self.requests for split in SPLITS]
        return [*tables, *sorted(f"{name}-vocabulary" for name in self._files("vocabulary"))]

    def _table_path(self, request: TaskRequest, split: Split) -> Path:
        return self.folder / self._table_entry(request, split).files["table"].file

    def _table_entry(self, request: TaskRequest, split: Split) -> Entry:
        return self.entries[f"{request.task.name}-{split}"]

    def _open_table(self, request: TaskRequest, split: Split) -> ExampleTable:
        return ExampleTable.open(self._table_path(request, split))

    def _write_array(self, file: str, array: NDArray[np.int32]) -> None:
        buffer = io.BytesIO()
        np.save(buffer, array)
        atomic_files.write_bytes(self.folder / file, buffer.getvalue())

    def _run(
        self,
        function: Callable[..., Entry],
        steps: Sequence[Step],
        digests: Mapping[str, str],
        *,
        description: str,
        processes: int = 1,
    ) -> None:
        """Run the steps whose inputs have other digests than before, and collect the entries of all."""
        cache = entry_cache(self.folder, digests)
        self.new_steps += [step.name for step in steps if cache.load(step.name) is None]
        self.entries |= run_steps(function, steps, description=description, store=cache, processes=processes)

    def _run_one(self, function: Callable[..., Entry], step: str, digest: str, *arguments: Any) -> None:
        self._run(function, [Step(step, (digest, *arguments))], {step: digest}, description=step)

    def _files(self, role: str) -> dict[str, FileEntry]:
        return {
            step.removesuffix(f"-{role}"): entry.files[role]
            for step, entry in self.entries.items()
            if role in entry.files
        }
