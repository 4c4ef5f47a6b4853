"""Archives with paths outside the folder or links, or that are damaged, are refused and write nothing."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from twelvefold.download.unpack import unpack_all, unpack_members
from twelvefold.schema import TwelvefoldError

GOOD = {"refcoco/refs(unc).p": b"refs", "refcoco/instances.json": b"{}" * 1000}


def zipped(path: Path, members: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] = lambda _: None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            change(info)
            archive.writestr(info, data)
    return path


def tarred(path: Path, members: dict[str, bytes], kind: bytes = tarfile.REGTYPE, target: str = "") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("make", [zipped, tarred])
def test_only_wanted_members_are_written(tmp_path: Path, make: Callable[..., Path]) -> None:
    archive = make(tmp_path / "a", {**GOOD, "refcoco/refs(google).p": b"others"})
    data = tmp_path / "data"
    unpack_members(archive, {data / "x" / "refs(unc).p": "refcoco/refs(unc).p", data / "i.json": "instances.json"})
    assert (data / "x" / "refs(unc).p").read_bytes() == b"refs"
    assert (data / "i.json").read_bytes() == GOOD["refcoco/instances.json"]
    assert sum(path.is_file() for path in data.rglob("*")) == 2


@pytest.mark.parametrize("make", [zipped, tarred])
def test_all_members_are_written(tmp_path: Path, make: Callable[..., Path]) -> None:
    assert unpack_all(make(tmp_path / "a", GOOD), tmp_path / "all") == 2
    assert (tmp_path / "all" / "refcoco" / "refs(unc).p").read_bytes() == b"refs"


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "..\\evil", "c:/evil", "a/.."])
def test_a_member_outside_the_folder_rejects_the_whole_archive(
    tmp_path: Path, make: Callable[..., Path], name: str
) -> None:
    archive = make(tmp_path / "a", {**GOOD, name: b"evil"})
    data = tmp_path / "inner" / "data"
    with pytest.raises(TwelvefoldError, match="leads out of its folder"):
        unpack_all(archive, data)
    with pytest.raises(TwelvefoldError, match="leads out of its folder"):
        unpack_members(archive, {data / "i.json": "instances.json"})
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tarred(tmp_path / "a", {"x": b""}, kind, "/etc/passwd")
    with pytest.raises(TwelvefoldError, match="is a link or a device"):
        unpack_all(archive, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    def link(info: zipfile.ZipInfo) -> None:
        info.external_attr = (stat.S_IFLNK | 0o777) << 16

    with pytest.raises(TwelvefoldError, match="is a link, a device or encrypted"):
        unpack_all(zipped(tmp_path / "a", {"x": b"/etc/passwd"}, link), tmp_path / "data")


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("cut", [0.2, 0.9])
def test_a_truncated_archive_is_reported_as_damaged(tmp_path: Path, make: Callable[..., Path], cut: float) -> None:
    archive = make(tmp_path / "a", {"x/big": bytes(range(256)) * 4000})
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(TwelvefoldError, match="damaged or not an archive"):
        unpack_all(archive, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_flipped_byte_leaves_no_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr("x", b"plain " * 1000)
    data = bytearray((tmp_path / "a").read_bytes())
    data[2000] ^= 1
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(TwelvefoldError, match="damaged or not an archive"):
        unpack_members(tmp_path / "a", {tmp_path / "x": "x"})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_unknown_compression_method_is_refused(tmp_path: Path) -> None:
    """``zipfile`` raises an error that is not a ``BadZipFile``."""
    archive = zipped(tmp_path / "a", {"x": b"plain " * 1000})
    data = bytearray(archive.read_bytes())
    directory = data.index(b"PK\x01\x02")
    for offset in (8, directory + 10):  # the method, in the local header and in the central directory
        data[offset : offset + 2] = (99).to_bytes(2, "little")
    archive.write_bytes(data)
    with pytest.raises(TwelvefoldError, match=r"damaged or not an archive: .*compression"):
        unpack_all(archive, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_missing_or_repeated_member_is_named(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a", {"one/i.json": b"", "two/i.json": b"", "__MACOSX/one/refs.p": b"", "refs.p": b"!"})
    with pytest.raises(TwelvefoldError, match=r"expected lost\.json in it once, got 0; it holds one/i\.json"):
        unpack_members(archive, {tmp_path / "x": "lost.json"})
    with pytest.raises(TwelvefoldError, match="got 2"):
        unpack_members(archive, {tmp_path / "x": "i.json"})
    unpack_members(archive, {tmp_path / "x": "refs.p"})
    assert (tmp_path / "x").read_bytes() == b"!"


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("count", [1, 3])
def test_a_zip_bomb_is_refused_before_anything_is_written(
    tmp_path: Path, make: Callable[..., Path], count: int
) -> None:
    zeros = bytes(40_000_000 // count)
    archive = make(tmp_path / "bomb", {f"a/{i}.json": zeros for i in range(count)})
    assert archive.stat().st_size < 60_000
    with pytest.raises(TwelvefoldError, match=r"over 200 times as many: .*zip bomb; it was not unpacked"):
        unpack_all(archive, tmp_path / "out")
    with pytest.raises(TwelvefoldError, match="zip bomb"):
        unpack_members(archive, {tmp_path / "out.json": "a/0.json"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bomb"]


@pytest.mark.parametrize(
    ("data", "kind"), [(b"<html>", "web page"), (b"version https://git-lfs.github.com/spec/v1", "git lfs pull")]
)
def test_a_web_page_and_a_pointer_are_named(tmp_path: Path, data: bytes, kind: str) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(TwelvefoldError, match=kind):
        unpack_all(tmp_path / "a.zip", tmp_path / "out")
