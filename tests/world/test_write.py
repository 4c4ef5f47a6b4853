"""Writing a world: the same bytes whatever the workers and interruptions, all or nothing, and clear refusals."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from twelvefold.datasets.reading.image_files import image_files
from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.store.atomic_files import digest_file, lock_folder
from twelvefold.world import write
from twelvefold.world.blocks import save_block
from twelvefold.world.formats.official import AnnotationShard
from twelvefold.world.write import make_world


def arguments(folder: Path) -> dict[str, int]:
    parameters = json.loads((folder / "world.json").read_text())["parameters"]
    return {"images": parameters["images"], "seed": parameters["seed"]}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two blocks; the world of the fixture was made in one."""
    monkeypatch.setattr(write, "BLOCK_SIZE", 64)


def digests(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): digest_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


def test_two_workers_write_what_one_writes(small_world: Path, tmp_path: Path) -> None:
    made = make_world(tmp_path / "w", **arguments(small_world), workers=2)
    assert made.made
    assert digests(made.folder) == digests(small_world)
    assert beside(made.folder) == [], "no scaffold is left"
    assert not [p for p in made.folder.iterdir() if p.name.startswith(".")]


def test_a_finished_world_is_kept(small_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "save_block", lambda *_: pytest.fail("made again"))
    again = make_world(small_world, **arguments(small_world))
    assert not again.made
    assert again.examples["vqav2"]["train"] > 0
    assert again.reader_options["vgqa"]["tail"] == again.examples["vgqa"]["test"]


def test_a_run_that_fails_shows_nothing_and_the_next_goes_on(
    small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def save_first_only(pictures: Any, seed: int, folder: Path) -> None:
        if made:
            raise RuntimeError("struck down")
        made.append(pictures[0].index)
        save_block(pictures, seed, folder)

    out = tmp_path / "w"
    monkeypatch.setattr(write, "save_block", save_first_only)
    with pytest.raises(RuntimeError, match="struck down"):
        make_world(out, **arguments(small_world), workers=1)
    assert not out.exists()

    resumed = []

    def save_and_note(pictures: Any, seed: int, folder: Path) -> None:
        resumed.append(pictures[0].index)
        save_block(pictures, seed, folder)

    monkeypatch.setattr(write, "save_block", save_and_note)
    make_world(out, **arguments(small_world), workers=1)
    assert resumed == [write.BLOCK_SIZE], "the first block was not made again"
    assert digests(out) == digests(small_world)


@pytest.fixture(scope="module")
def blocks_only(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run has beside its goal when all blocks are made and nothing else is."""
    folder = tmp_path_factory.mktemp("blocks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "BLOCK_SIZE", 64)
        patch.setattr(write, "_finish", _strike)
        with pytest.raises(RuntimeError, match="struck down"):
            make_world(folder / "w", **arguments(small_world), workers=1)
    return folder / ".w.building"


def _strike(*_: Any) -> None:
    raise RuntimeError("struck down")


@pytest.mark.parametrize("step", ["write_official", "_move_images", "_publish"])
def test_a_run_cut_off_at_the_end_is_finished(
    small_world: Path, blocks_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    shutil.copytree(blocks_only, tmp_path / ".w.building")
    monkeypatch.setattr(write, "save_block", lambda *_: pytest.fail("a block was made again"))
    true_step, calls = getattr(write, step), []

    def strike_at_the_last(*given: Any) -> Any:
        calls.append(given)
        return _strike() if len(calls) == (1 if step == "_publish" else 2) else true_step(*given)

    out = tmp_path / "w"
    monkeypatch.setattr(write, step, strike_at_the_last)
    with pytest.raises(RuntimeError, match="struck down"):
        make_world(out, **arguments(small_world), workers=1)
    assert not out.exists()
    monkeypatch.setattr(write, step, true_step)
    make_world(out, **arguments(small_world), workers=1)
    assert digests(out) == digests(small_world)
    assert beside(out) == []


def test_a_killed_run_leaves_no_workers_and_is_finished(small_world: Path, tmp_path: Path) -> None:
    out = tmp_path / "w"
    call = f"write.BLOCK_SIZE = 64; write.make_world(Path({str(out)!r}), workers=2, **{arguments(small_world)})"
    script = tmp_path / "run.py"
    script.write_text(
        f"from pathlib import Path\nfrom twelvefold.world import write\nif __name__ == '__main__':\n    {call}\n"
    )
    run = subprocess.Popen([sys.executable, str(script)])
    blocks = tmp_path / ".w.building" / ".blocks"
    _wait_until(lambda: run.poll() is not None or (blocks.exists() and any(blocks.iterdir())))
    workers = _children(run.pid)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert workers
    _wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert not out.exists()
    make_world(out, **arguments(small_world), workers=1)
    assert digests(out) == digests(small_world)
    assert beside(out) == ["run.py"]


def _children(pid: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # that process has just ended
        if int(fields[1]) == pid:
            found.append(int(status.parent.name))
    return found


def _wait_until(is_done: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_full_disk_is_said_and_leaves_nothing(
    small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(shard: AnnotationShard, folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "sheet"))

    monkeypatch.setattr(AnnotationShard, "save", full)
    with pytest.raises(TwelvefoldError, match="disk is full"):
        make_world(tmp_path / "w", **arguments(small_world), workers=1)
    assert not (tmp_path / "w").exists()
    assert not list((tmp_path / ".w.building" / ".blocks").iterdir())


def test_what_is_not_this_world_is_never_overwritten(small_world: Path, tmp_path: Path) -> None:
    given = arguments(small_world)
    with pytest.raises(TwelvefoldError, match=r"another world .*images 112.*another folder"):
        make_world(small_world, images=given["images"] + 1, seed=given["seed"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(TwelvefoldError, match="is not a world"):
        make_world(tmp_path / "mine", **given)
    (tmp_path / "file").write_text("years of work")
    with pytest.raises(TwelvefoldError, match="is not a world"):
        make_world(tmp_path / "file", **given)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_world_that_lost_a_file_is_named(small_world: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in small_world.iterdir():
        (copy / path.name).symlink_to(path)
    (copy / "nlvr2").unlink()
    with pytest.raises(TwelvefoldError, match=r"nlvr2/.*json is missing"):
        make_world(copy, **arguments(small_world))


def test_only_one_run_writes_a_world(small_world: Path, tmp_path: Path) -> None:
    with lock_folder(tmp_path / ".w.building"), pytest.raises(TwelvefoldError, match="another process"):
        make_world(tmp_path / "w", **arguments(small_world), workers=1)


def test_a_cut_off_run_of_another_world_is_not_built_on(
    small_world: Path, blocks_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(blocks_only, tmp_path / ".w.building")
    given = arguments(small_world)
    monkeypatch.setattr(write, "save_block", _strike)
    with pytest.raises(RuntimeError, match="struck down"):
        make_world(tmp_path / "w", images=given["images"], seed=given["seed"] + 1, workers=1)
    assert not any((tmp_path / ".w.building" / ".blocks").iterdir())


def test_truth_lists_what_is_one_photograph_and_what_only_looks_it(small_world: Path) -> None:
    listed = json.loads((small_world / "truth/near_duplicates.json").read_text())
    assert {entry["how"] for entry in listed if not entry["near_duplicate"]} == {"changed"}
    assert {entry["how"] for entry in listed if entry["near_duplicate"]} == {
        "resized", "re-encoded", "cropped", "watermarked", "brightened",
    }  # fmt: skip
    files = image_files(small_world)
    for entry in listed:
        twin, original = (files[ImageKey.parse(entry[which][0])] for which in ("keys", "of"))
        assert twin.read_bytes() != original.read_bytes()
        difference = np.abs(_thumbnail(twin) - _thumbnail(original))
        assert difference.mean() < 25, entry
    apart = np.abs(_thumbnail(files[ImageKey.parse(listed[0]["of"][0])]) - _thumbnail(twin))
    assert apart.mean() > 10, "two pictures that are no twins"


def _thumbnail(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((64, 64)), dtype=np.float64)
