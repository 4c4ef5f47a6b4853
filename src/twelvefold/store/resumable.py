"""Results about images that are kept on disk block by block: a killed call resumes, a repeated call does nothing.

Results depend neither on the order of images nor on thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from twelvefold.progress import progress_bar
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.worker_pool import create_pool

Row = TypeVar("Row", bound=msgspec.Struct)
Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result", bound=msgspec.Struct, covariant=True)


class BlockFunction(Protocol[Item, Result]):
    """A module-level function, so that it can be sent to a worker process."""

    def __call__(self, items: Sequence[Item], /) -> Sequence[Result]: ...


class ResumableRows(Generic[Row]):
    """The rows in a folder. ``version``: of the code that computed them; rows of another version are ignored."""

    def __init__(self, folder: Path, row_type: type[Row], version: str) -> None:
        self._folder, self._version = folder, version
        self._decoder = msgspec.msgpack.Decoder(tuple[str, list[row_type]])  # type: ignore[valid-type]
        self.rows: list[Row] = []

    @classmethod
    @contextmanager
    def open(cls, folder: Path, row_type: type[Row], version: str) -> Iterator[ResumableRows[Row]]:
        """Read the rows in ``folder`` and hold its lock for the ``with`` block.

        Raises:
            TwelvefoldError: a file of rows is damaged.
        """
        resumable = cls(folder, row_type, version)
        with atomic_files.lock_folder(folder, wait=True):
            atomic_files.remove_leftovers(folder)
            for path in sorted(folder.glob("*.msgpack")):
                try:
                    version, rows = resumable._decoder.decode(path.read_bytes())
                except msgspec.MsgspecError as error:
                    raise TwelvefoldError(
                        f"{path} is damaged ({error}): remove it, and it is computed again"
                    ) from error
                if version == resumable._version:
                    resumable.rows += rows
            yield resumable

    def add(self, rows: Sequence[Row]) -> None:
        """Append a block of rows and write it to disk."""
        self.rows += rows
        number = sum(1 for _ in self._folder.glob("block-*.msgpack"))
        self._write(self._folder / f"block-{number:05}.msgpack", rows)

    def compact(self, rows: Sequence[Row]) -> None:
        """Replace all rows by ``rows``, in a single file."""
        self.rows = list(rows)
        self._write(self._folder / "all.msgpack", self.rows)
        for path in self._folder.glob("block-*.msgpack"):
            path.unlink()

    def _write(self, path: Path, rows: Sequence[Row]) -> None:
        atomic_files.write_bytes(path, msgspec.msgpack.encode((self._version, rows)))


def run_in_blocks(
    function: BlockFunction[Item, Row],
    items: Sequence[Item],
    block_size: int,
    resumable: ResumableRows[Row],
    *,
    description: str,
    processes: int,
) -> None:
    """Apply ``function`` to blocks of ``items``, in this process or in several, and keep each block's rows when done.

    Raises:
        TwelvefoldError: a worker process was killed; completed blocks are kept.
    """
    blocks = [items[start : start + block_size] for start in range(0, len(items), block_size)]
    with progress_bar(description=description, total=len(items)) as bar:
        if processes == 1 or len(blocks) < 2:
            for block in blocks:
                resumable.add(function(block))
                bar.advance(len(block))
            return
        workers = create_pool(min(processes, len(blocks)))
        try:
            futures = {workers.submit(function, block): len(block) for block in blocks}
            for future in as_completed(futures):
                resumable.add(future.result())
                bar.advance(futures[future])
        except BrokenProcessPool as error:
            raise TwelvefoldError(
                f"a worker process was killed ({description}; out of memory?). Completed blocks are kept: run the same "
                "command again to resume, with fewer processes if necessary"
            ) from error
        finally:
            workers.shutdown(cancel_futures=True)
