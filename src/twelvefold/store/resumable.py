"""What has been found out about pictures, kept on disk block by block, so that a call that was killed goes on from
there and a second call does nothing. Nothing here depends on the order of pictures or on thresholds.
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
Work = TypeVar("Work", contravariant=True)
Found = TypeVar("Found", bound=msgspec.Struct, covariant=True)


class Block(Protocol[Work, Found]):
    """A function of a module, so that a worker process can be sent to it."""

    def __call__(self, work: Sequence[Work], /) -> Sequence[Found]: ...


class Notes(Generic[Row]):
    """The rows in a folder. ``version`` says how they came about; notes of another version count for nothing."""

    def __init__(self, folder: Path, kind: type[Row], version: str) -> None:
        self._folder, self._version = folder, version
        self._decoder = msgspec.msgpack.Decoder(tuple[str, list[kind]])  # type: ignore[valid-type]
        self.rows: list[Row] = []

    @classmethod
    @contextmanager
    def open(cls, folder: Path, kind: type[Row], version: str) -> Iterator[Notes[Row]]:
        """The notes in ``folder``, held alone while the block lasts.

        Raises:
            TwelvefoldError: a file of notes is damaged.
        """
        notes = cls(folder, kind, version)
        with atomic_files.lock_folder(folder, wait=True):
            atomic_files.remove_leftovers(folder)
            for path in sorted(folder.glob("*.msgpack")):
                try:
                    version, rows = notes._decoder.decode(path.read_bytes())
                except msgspec.MsgspecError as error:
                    raise TwelvefoldError(f"{path} is damaged ({error}): remove it, and it is made anew") from error
                if version == notes._version:
                    notes.rows += rows
            yield notes

    def add(self, rows: Sequence[Row]) -> None:
        """Keep a block of rows, at once on disk."""
        self.rows += rows
        number = sum(1 for _ in self._folder.glob("block-*.msgpack"))
        self._write(self._folder / f"block-{number:05}.msgpack", rows)

    def settle(self, rows: Sequence[Row]) -> None:
        """Keep ``rows`` alone, in one file: the last thing that is done with notes that have grown."""
        self.rows = list(rows)
        self._write(self._folder / "all.msgpack", self.rows)
        for path in self._folder.glob("block-*.msgpack"):
            path.unlink()

    def _write(self, path: Path, rows: Sequence[Row]) -> None:
        atomic_files.write_bytes(path, msgspec.msgpack.encode((self._version, rows)))


def in_blocks(
    do: Block[Work, Row], todo: Sequence[Work], size: int, notes: Notes[Row], *, what: str, processes: int
) -> None:
    """Do all of ``todo``, ``size`` at a time, in this process or in several, and note every block when it is done.

    Raises:
        TwelvefoldError: a worker process was killed; the blocks that are done are kept.
    """
    blocks = [todo[start : start + size] for start in range(0, len(todo), size)]
    with progress_bar(description=what, total=len(todo)) as bar:
        if processes == 1 or len(blocks) < 2:
            for block in blocks:
                notes.add(do(block))
                bar.advance(len(block))
            return
        workers = create_pool(min(processes, len(blocks)))
        try:
            tasks = {workers.submit(do, block): len(block) for block in blocks}
            for task in as_completed(tasks):
                notes.add(task.result())
                bar.advance(tasks[task])
        except BrokenProcessPool as error:
            raise TwelvefoldError(
                f"a process at work on {what} was killed (too little memory?); what is done is kept: the same call "
                "goes on from there, with fewer processes if need be"
            ) from error
        finally:
            workers.shutdown(cancel_futures=True)
