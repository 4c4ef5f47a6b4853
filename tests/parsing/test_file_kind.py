"""Web pages and pointers are named as such wherever a file is opened, and nothing else is taken for one."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from twelvefold.parsing.file_kind import check_file_kind, describe_other_kind
from twelvefold.parsing.text import read_bytes
from twelvefold.schema import TwelvefoldError

PAGES = (
    b"<!DOCTYPE html>\n<html><body>Sign in</body></html>",
    b"\xef\xbb\xbf\r\n  <html lang='en'>",
    b"<!-- cached -->\n<HTML>",
    "<!doctype html><title>403</title>".encode("utf-16"),
)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n"


@pytest.mark.parametrize("data", PAGES)
def test_a_web_page_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.json").write_bytes(data)
    for read in (check_file_kind, read_bytes):
        with pytest.raises(TwelvefoldError, match=r"a\.json is a web page, .*download the file again"):
            read(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (LFS, "Git LFS pointer.*git lfs pull"),
        (b"/annex/objects/SHA256E-s3--00.json\n", "git-annex pointer.*git annex get"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML message"),
    ],
)
def test_pointers_and_messages_of_servers_are_named(tmp_path: Path, data: bytes, kind: str) -> None:
    (tmp_path / "a.bin").write_bytes(data)
    with pytest.raises(TwelvefoldError, match=kind):
        check_file_kind(tmp_path / "a.bin")


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"\n\n{}", b"<unk>\t5", b"version 3\n", pickle.dumps([1]), b"\x93NUMPY", b"\xff\xfe"],
)
def test_data_are_not_taken_for_pages(data: bytes) -> None:
    assert describe_other_kind(data) == ""
