"""Writing a world: equal bytes for any workers and interruptions, all or nothing, and clear errors."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from importlib.metadata import version
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
from twelvefold.world.formats import ADDED_LAYOUTS
from twelvefold.world.formats.official import AnnotationShard
from twelvefold.world.write import make_world

DIGESTS = {
    1: {
        "annotations": "7575b0d5dffd9599a22e0cad95bfd38a755e9e117afb12121f210086150849e3",
        "images": "c16b0e7fabd8feab5965b45a1e971062154e2e7f4411672cede6fcb42d9c4e96",
    },
    2: {
        "annotations": "899f271b1b6ff6b8486aba80b51fe951a26f4c6c805d7b4cc07c09659e5de4d7",
        "images": "c16b0e7fabd8feab5965b45a1e971062154e2e7f4411672cede6fcb42d9c4e96",
    },
}
"""World version -> SHA-256 of the files of the small world, with the library versions below."""
LIBRARIES = {"pillow": "13.0.0", "numpy": "2.4.6"}


@pytest.mark.skipif(
    any(version(name) != pinned for name, pinned in LIBRARIES.items()),
    reason=f"the bytes of a world depend on Pillow and NumPy; the digests are for {LIBRARIES}",
)
@pytest.mark.parametrize("part", ["annotations", "images"])
@pytest.mark.parametrize("world_version", DIGESTS)
def test_the_bytes_of_a_world_change_only_with_its_version(small_world: Path, world_version: int, part: str) -> None:
    """Version 2 has the files of version 1, and others."""
    added = {layout.path for layout in ADDED_LAYOUTS} if world_version == 1 else set()
    digest = hashlib.sha256()
    for path in sorted(path for path in small_world.rglob("*") if path.is_file() and path.name != "world.json"):
        name = path.relative_to(small_world).as_posix()
        if name.startswith("images/") == (part == "images") and name not in added:
            digest.update(f"{name} {path.stat().st_size}\n".encode() + path.read_bytes())
    assert digest.hexdigest() == DIGESTS[world_version][part], "raise VERSION in world/write.py and add digests here"
    assert max(DIGESTS) == write.VERSION


def test_files_of_tasks_besides_the_twelve_are_added_to_a_world_of_version_1(small_world: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(small_world, old)
    state = json.loads((small_world / "world.json").read_text())
    for layout in ADDED_LAYOUTS:
        (old / layout.path).unlink()
        del state["files"][layout.path]
    del state["examples"]["flickr30k_entities"]
    state["parameters"]["generator"] = 1
    (old / "world.json").write_text(json.dumps(state))
    for _ in range(2):
        assert not make_world(old, **arguments(small_world)).made
        assert _contents(old) == _contents(small_world), "down to the order of keys in world.json"


def _contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("digest", "is_accepted"), [("7a31f0169d1a87f5a0674e257873ceec", True), ("0" * 32, False)])
def test_a_world_with_a_digest_for_its_version_is_accepted_if_known(
    small_world: Path, tmp_path: Path, digest: str, is_accepted: bool
) -> None:
    """Worlds made before versions had numbers contain a digest of the source files as ``generator``."""
    old = tmp_path / "old"
    _link(small_world, old, except_for="world.json")
    state = json.loads((small_world / "world.json").read_text())
    state["parameters"]["generator"] = digest
    (old / "world.json").write_text(json.dumps(state))
    with nullcontext() if is_accepted else pytest.raises(TwelvefoldError, match="another world"):
        assert not make_world(old, **arguments(small_world)).made


def arguments(folder: Path) -> dict[str, int]:
    parameters = json.loads((folder / "world.json").read_text())["parameters"]
    return {"images": parameters["images"], "seed": parameters["seed"]}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use two blocks. The world of the fixture was made in one."""
    monkeypatch.setattr(write, "BLOCK_SIZE", 64)


def digests(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): digest_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def siblings(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


@pytest.mark.slow
def test_two_workers_write_the_same_bytes_as_one(small_world: Path, tmp_path: Path) -> None:
    made = make_world(tmp_path / "w", **arguments(small_world), processes=2)
    assert made.made
    assert digests(made.folder) == digests(small_world)
    assert siblings(made.folder) == [], "temporary files are removed"
    assert not [p for p in made.folder.iterdir() if p.name.startswith(".")]


def test_a_finished_world_is_kept(small_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "save_block", lambda *_: pytest.fail("made again"))
    again = make_world(small_world, **arguments(small_world))
    assert not again.made
    assert again.examples["vqav2"]["train"] > 0
    assert again.reader_options["vgqa"]["tail"] == again.examples["vgqa"]["test"]


@pytest.mark.slow
def test_a_failed_run_leaves_no_world_and_the_next_run_continues(
    small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []

    def save_first_only(images: Any, seed: int, folder: Path) -> None:
        if saved:
            raise RuntimeError("interrupted")
        saved.append(images[0].index)
        save_block(images, seed, folder)

    out = tmp_path / "w"
    monkeypatch.setattr(write, "save_block", save_first_only)
    with pytest.raises(RuntimeError, match="interrupted"):
        make_world(out, **arguments(small_world), processes=1)
    assert not out.exists()

    resumed = []

    def save_and_record(images: Any, seed: int, folder: Path) -> None:
        resumed.append(images[0].index)
        save_block(images, seed, folder)

    monkeypatch.setattr(write, "save_block", save_and_record)
    make_world(out, **arguments(small_world), processes=1)
    assert resumed == [write.BLOCK_SIZE], "the first block is not made again"
    assert digests(out) == digests(small_world)


@pytest.fixture(scope="module")
def blocks_only(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hidden folder of a run that has made all blocks and nothing else."""
    folder = tmp_path_factory.mktemp("blocks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "BLOCK_SIZE", 64)
        patch.setattr(write, "_finish", _fail)
        with pytest.raises(RuntimeError, match="interrupted"):
            make_world(folder / "w", **arguments(small_world), processes=1)
    return folder / ".w.building"


def _fail(*_: Any) -> None:
    raise RuntimeError("interrupted")


@pytest.mark.parametrize("step", ["write_official", "_move_images", "_publish"])
def test_a_run_interrupted_at_the_end_is_finished(
    small_world: Path, blocks_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    shutil.copytree(blocks_only, tmp_path / ".w.building")
    monkeypatch.setattr(write, "save_block", lambda *_: pytest.fail("a block was made again"))
    original_step, calls = getattr(write, step), []

    def fail_at_last_call(*arguments: Any) -> Any:
        calls.append(arguments)
        return _fail() if len(calls) == (1 if step == "_publish" else 2) else original_step(*arguments)

    out = tmp_path / "w"
    monkeypatch.setattr(write, step, fail_at_last_call)
    with pytest.raises(RuntimeError, match="interrupted"):
        make_world(out, **arguments(small_world), processes=1)
    assert not out.exists()
    monkeypatch.setattr(write, step, original_step)
    make_world(out, **arguments(small_world), processes=1)
    assert digests(out) == digests(small_world)
    assert siblings(out) == []


@pytest.mark.slow
def test_a_killed_run_leaves_no_workers_and_is_finished(small_world: Path, tmp_path: Path) -> None:
    out = tmp_path / "w"
    call = f"write.BLOCK_SIZE = 64; write.make_world(Path({str(out)!r}), processes=2, **{arguments(small_world)})"
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
    make_world(out, **arguments(small_world), processes=1)
    assert digests(out) == digests(small_world)
    assert siblings(out) == ["run.py"]


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


def test_a_full_disk_is_reported_and_leaves_no_world(
    small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(shard: AnnotationShard, folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "sheet"))

    monkeypatch.setattr(AnnotationShard, "save", fail)
    with pytest.raises(TwelvefoldError, match="disk is full"):
        make_world(tmp_path / "w", **arguments(small_world), processes=1)
    assert not (tmp_path / "w").exists()
    assert not list((tmp_path / ".w.building" / ".blocks").iterdir())


def test_other_files_and_worlds_are_never_overwritten(small_world: Path, tmp_path: Path) -> None:
    parameters = arguments(small_world)
    with pytest.raises(TwelvefoldError, match=r"another world .*images 112.*another folder"):
        make_world(small_world, images=parameters["images"] + 1, seed=parameters["seed"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(TwelvefoldError, match="is not a world"):
        make_world(tmp_path / "mine", **parameters)
    (tmp_path / "file").write_text("years of work")
    with pytest.raises(TwelvefoldError, match="is not a world"):
        make_world(tmp_path / "file", **parameters)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_missing_file_of_a_world_is_named(small_world: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    _link(small_world, copy, except_for="nlvr2")
    with pytest.raises(TwelvefoldError, match=r"nlvr2/.*json is missing"):
        make_world(copy, **arguments(small_world))


def _link(source: Path, target: Path, except_for: str) -> None:
    """Link all files of a world but one."""
    target.mkdir()
    for path in source.iterdir():
        if path.name != except_for:
            (target / path.name).symlink_to(path)


def test_only_one_run_writes_a_world(small_world: Path, tmp_path: Path) -> None:
    with lock_folder(tmp_path / ".w.building"), pytest.raises(TwelvefoldError, match="another process"):
        make_world(tmp_path / "w", **arguments(small_world), processes=1)


def test_an_interrupted_run_of_another_world_is_not_continued(
    small_world: Path, blocks_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(blocks_only, tmp_path / ".w.building")
    parameters = arguments(small_world)
    monkeypatch.setattr(write, "save_block", _fail)
    with pytest.raises(RuntimeError, match="interrupted"):
        make_world(tmp_path / "w", images=parameters["images"], seed=parameters["seed"] + 1, processes=1)
    assert not any((tmp_path / ".w.building" / ".blocks").iterdir())


def test_the_truth_lists_near_duplicates_and_changed_images(small_world: Path) -> None:
    entries = json.loads((small_world / "truth/near_duplicates.json").read_text())
    assert {entry["how"] for entry in entries if not entry["near_duplicate"]} == {"changed"}
    assert {entry["how"] for entry in entries if entry["near_duplicate"]} == {
        "resized", "re-encoded", "cropped", "watermarked", "brightened",
    }  # fmt: skip
    files = image_files(small_world)
    for entry in entries:
        variant, original = (files[ImageKey.parse(entry[name][0])] for name in ("keys", "of"))
        assert variant.read_bytes() != original.read_bytes()
        difference = np.abs(_thumbnail(variant) - _thumbnail(original))
        assert difference.mean() < 25, entry
    difference = np.abs(_thumbnail(files[ImageKey.parse(entries[0]["of"][0])]) - _thumbnail(variant))
    assert difference.mean() > 10, "images of two scenes"


def _thumbnail(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((64, 64)), dtype=np.float64)
