"""The commands ``twelvefold index ...``: keep images ready to be searched by text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from cyclopts import App
from rich.table import Table

from twelvefold.cli.computing import computing_on
from twelvefold.cli.from_function import Output, command, first_lines, print_result
from twelvefold.cli.image_selection import ImagePath, select_images
from twelvefold.cli.use import DEFAULT_MODEL, DEFAULT_RANKING, ModelOptions, RankingOptions
from twelvefold.config import default_tasks
from twelvefold.evaluation.train_twin import RECALLS, TwinSummary, train_twin_encoder
from twelvefold.image_folder import skipped_lines
from twelvefold.printable import printable_name
from twelvefold.schema import TwelvefoldError
from twelvefold.serving.samples import resolve_sample
from twelvefold.store.atomic_files import recover_folder

if TYPE_CHECKING:
    from twelvefold.serving.search_index import SearchIndex

app = App(name="index", help="Make an index of images and search it by text.")


@app.command
def add(folder: Path, images: list[ImagePath], *, processes: int = 1, using: ModelOptions = DEFAULT_MODEL) -> int:
    """Add images to an index; make it if it does not exist. Files whose content has changed are read again.

    ```
    twelvefold index add holiday.index holiday
    ```

    Images that are gone from a folder leave the index. Files that cannot be read are listed, the others are kept, and
    the exit code is 1.

    Args:
        folder: Folder of the index.
        images: Images, `sample:NAME`, or folders of images.
        processes: Processes that detect regions, each with its own detector. Useful for many images.
    """
    selection = select_images(images)
    recover_folder(folder)
    index = _load_index(using, folder, processes) if folder.exists() else using.load(processes).index()
    update = index.update(selection.files, folders=selection.folders, save=lambda: index.save(folder))
    unreadable = update.unreadable | selection.problems
    if not len(index) and not folder.exists():
        raise TwelvefoldError("no image can be read: " + "; ".join(": ".join(item) for item in unreadable.items()))
    index.save(folder)
    counts = [f"{update.num_images:,} images", f"{update.added:,} new"]
    counts += [f"{update.changed:,} changed"] if update.changed else []
    counts += [f"{len(update.removed):,} removed"] if update.removed else []
    lines = [f"{folder}: {', '.join(counts)}", *first_lines("removed, no longer there", update.removed)]
    lines += [*first_lines("unreadable", unreadable), *skipped_lines(selection.skipped)]
    result = msgspec.to_builtins(update) | ({"unreadable": unreadable} if unreadable else {})
    result |= {"skipped": selection.skipped} if selection.skipped else {}
    return print_result(result, Output("\n".join(lines), exit_code=1 if unreadable else 0), json=using.json)


@app.command
def search(
    folder: Path,
    text: str,
    *,
    task: str = default_tasks.FIND,
    shortlist: int = 0,
    using: RankingOptions = DEFAULT_RANKING,
) -> int:
    """Rank the images of an index by how well a text describes them.

    ```
    twelvefold index search holiday.index "two dogs on a beach" --top 3
    ```

    Args:
        folder: Folder of the index.
        text: The text.
        task: Task: coco or flickr30k.
        shortlist: Images to compare, chosen by the model's twin encoder (`twelvefold index train`); 0: all.
    """
    ranked = _load_index(using, folder).search(text, using.top, task=task, shortlist=shortlist)
    result = [{"probability": rank.probability, "name": rank.name} for rank in ranked]
    return print_result(
        result, Output("\n".join(f"{rank.probability:7.1%}  {rank.name}" for rank in ranked)), json=using.json
    )


@app.command
def remove(folder: Path, names: list[str], *, using: ModelOptions = DEFAULT_MODEL) -> int:
    """Remove images from an index by name.

    ```
    twelvefold index remove holiday.index holiday/blurred.jpg
    ```

    Args:
        folder: Folder of the index.
        names: Names of images, as they were added: paths, or `sample:NAME`.
    """
    index = _load_index(using, folder)
    index.remove([printable_name(resolve_sample(Path(name))) for name in names])
    index.save(folder)
    return print_result(
        {"removed": len(names), "pictures": len(index)}, Output(f"{folder}: {len(index):,} images"), json=using.json
    )


@app.command(name="train")
@command(train_twin_encoder, example="twelvefold index train runs/mine", computes=computing_on)
def train(summary: TwinSummary, arguments: Mapping[str, Any]) -> Output:
    """Show what was trained."""
    table = Table("task", "captions", "images", *(f"{k} listed" for k in RECALLS))
    for name, share in summary.tasks.items():
        table.add_row(name, f"{share.captions:,}", f"{share.images:,}", *(f"{x:.1f}" for x in share.listed.values()))
    text = (
        f"{summary.file}: {summary.iterations:,} iterations in {summary.seconds:.0f} s. The table shows the "
        "percentage of validation captions whose own image is on a shortlist of 1, 10 ... of all validation images."
    )
    return Output(text, [table])


def _load_index(using: ModelOptions, folder: Path, processes: int = 1) -> SearchIndex:
    from twelvefold.serving.search_index import MANIFEST, SearchIndex

    recover_folder(folder)
    if not folder.is_dir():
        raise TwelvefoldError(f"there is no index {folder}; make it: twelvefold index add {folder} IMAGES")
    if not (folder / MANIFEST).exists():
        raise TwelvefoldError(
            f"the folder {folder} is not an index, as it has no {MANIFEST}; name a folder that `twelvefold index add` "
            "made, or a new one"
        )
    return SearchIndex.load(folder, using.load(processes))
