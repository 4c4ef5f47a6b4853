"""Clean: say which examples no task may learn from, and why, without preparing anything. Paper: section 2.2.

What ``prepare`` does before it makes tables, as a thing of its own: for a manifest that recipes pin, for plain id lists
that other projects use, and to hold the original project's ``*_test_ids.npy`` beside ours. It never imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from twelvefold import datasets
from twelvefold.datasets.reading import same_image_links
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.duplicates.image_groups import Identity
from twelvefold.schema import TwelvefoldError
from twelvefold.splits import decide, id_lists, manifest
from twelvefold.splits import policy as cleaning
from twelvefold.store import atomic_files
from twelvefold.store.prepared import CLEANING, SPLITS, choices


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """Examples of one split before cleaning, removed, and after."""

    read: int
    removed: int
    kept: int


@dataclass(frozen=True, slots=True)
class CleanSummary:
    """Where the manifest lies, its digest (what a recipe pins), and counts by task and split. ``ids``: the folder of id
    lists, where asked for; ``hidden``: what could not be known; ``unreadable``: pictures that were not compared;
    ``problems``: malformed records that were passed over."""

    manifest: Path
    digest: str
    policy: str
    counts: Mapping[str, Mapping[str, SplitCounts]]
    ids: Path | None
    hidden: tuple[str, ...]
    unreadable: Mapping[str, str]
    problems: tuple[str, ...]

    def table(self) -> Table:
        """Counts before and after, task by task: to print with rich."""
        table = Table("task")
        for split in SPLITS:
            for name in (f"{split} read", "removed", "kept") if split != "test" else ("test",):
                table.add_column(name, justify="right")
        for task, own in self.counts.items():
            cells = [f"{n:,}" for s in ("train", "val") for n in (own[s].read, own[s].removed, own[s].kept)]
            table.add_row(task, *cells, f"{own['test'].kept:,}")
        return table


def clean(
    data: Path,
    out: Path,
    *,
    policy: str = "paper",
    tasks: Sequence[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    protect: Sequence[str | Path] = (),
    ids: bool = False,
    skip_bad: bool = False,
    processes: int = 1,
) -> CleanSummary:
    """Decide what ``policy`` removes from ``tasks`` and write it to ``out/clean.json``.

    ``options``: keyword arguments of readers, by task; a world's own where none are given. ``protect``: id lists
    (``splits.original_ids``) whose pictures are protected besides. ``ids``: leave ``out/ids/<task>-<split>-kept.txt``
    and ``-removed.txt`` too, an id on each line. ``skip_bad``: pass over malformed records.

    Raises:
        TwelvefoldError: no such policy or task, a file is missing or broken, a list is none, or the policy is
            ``lists`` and there are none.
    """
    chosen, lists = cleaning.policy(policy), [id_lists.load(file) for file in protect]
    if not chosen.protects and not lists:
        raise TwelvefoldError(f"the policy {policy!r} protects given id lists alone, and none is given: --protect FILE")
    data, out, bad = Path(data), Path(out), BadRecords(skip=skip_bad)
    asked = asked_options(data, tasks, options)
    with atomic_files.lock_folder(out):
        found = decide.evidence(data, chosen, notes=out / "notes", bad=bad, processes=processes)
        folder = out / "ids" if ids else None
        decided = decide.decide(data, asked, chosen, found, bad=bad, lists=lists, processes=processes, ids=folder)
        manifest.write(out / CLEANING, decided)
    return CleanSummary(
        manifest=out / CLEANING,
        digest=decided.digest,
        policy=policy,
        counts={
            task: {s: SplitCounts(one.source.examples, len(one.ids()), one.kept) for s, one in own.items()}
            for task, own in decided.splits.items()
        },
        ids=folder,
        hidden=tuple(decided.hidden),
        unreadable=decided.unreadable,
        problems=tuple(map(str, bad.rejected)),
    )


def compare(
    data: Path,
    lists: Sequence[str | Path],
    *,
    tasks: Sequence[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    skip_bad: bool = False,
    processes: int = 1,
) -> list[id_lists.Compared]:
    """Id lists beside the test photographs of ``tasks``, under all the names that publishers' id maps give them.

    Raises:
        TwelvefoldError: as :func:`clean`.
    """
    data, loaded, bad = Path(data), [id_lists.load(file) for file in lists], BadRecords(skip=skip_bad)
    asked = asked_options(data, tasks, options)
    found = Identity(same_image_links.read_links(data, bad=bad))
    protected = decide.protected_tests(data, asked, found, bad=bad, processes=processes)
    return [id_lists.compare(one, protected) for one in loaded]


def asked_options(
    data: Path, tasks: Sequence[str], options: Mapping[str, Mapping[str, Any]] | None
) -> dict[str, dict[str, Any]]:
    """The tasks with the options of their readers, after checking every name."""
    if not data.is_dir():
        raise TwelvefoldError(f"{data} is no data folder: expected the official files in it, as docs/design.md shows")
    tasks = tasks or datasets.task_names()
    for name in options or {}:
        if name not in tasks:
            raise TwelvefoldError(f"options are given for task {name!r}, which is not asked for{choices(name, tasks)}")
    modules = {name: datasets.load_dataset(name) for name in tasks}
    names = [module.TASK.name for module in modules.values()]
    if twice := sorted({name for name in [*tasks, *names] if tasks.count(name) > 1 or names.count(name) > 1}):
        raise TwelvefoldError(f"tasks are asked for more than once: {', '.join(twice)}")
    asked = reader_options(data, tasks, options)
    for name, module in modules.items():
        datasets.check_options(module, asked[name])
    return asked
