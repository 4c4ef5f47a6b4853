"""Downloads from a server that breaks off, fails, ignores ranges, or sends wrong, too many or too few bytes."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import pytest

from twelvefold.download.http import MAX_FAILURES, ExpectedFile, FileRecord, download
from twelvefold.schema import TwelvefoldError

from .conftest import Site

BODY = random.Random(5).randbytes(3_000_001)
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "parts" / "model"


@pytest.fixture
def expected(site: Site) -> ExpectedFile:
    site.files["/m/model.bin"] = BODY
    return ExpectedFile("model", f"{site.address}/m/model.bin")


def test_a_file_is_downloaded_unchanged_with_its_checksum(site: Site, expected: ExpectedFile, part: Path) -> None:
    assert download(expected, part) == FileRecord(len(BODY), SHA)
    assert part.read_bytes() == BODY


@pytest.mark.parametrize("etag", ['"one"', "", 'W/"weak"'])
def test_a_broken_download_resumes_without_repeating_bytes(
    site: Site, expected: ExpectedFile, part: Path, etag: str
) -> None:
    site.etag = etag
    site.plan = ["break:1000000", "break:700000"]
    assert download(expected, part) == FileRecord(len(BODY), SHA)
    assert part.read_bytes() == BODY
    assert site.requests[0][1] == ""
    assert all(range_header.startswith("bytes=") for _, range_header in site.requests[1:])
    assert site.num_sent == len(BODY)


def test_a_later_call_resumes_after_one_that_gave_up(site: Site, expected: ExpectedFile, part: Path) -> None:
    site.plan = ["break:2000000", *["status:503"] * MAX_FAILURES]
    with pytest.raises(TwelvefoldError, match=r"failed .* the same command continues"):
        download(expected, part)
    kept = part.stat().st_size
    assert 0 < kept <= 2_000_000
    site.plan, site.num_sent = [], 0
    assert download(expected, part).sha256 == SHA
    assert site.num_sent == len(BODY) - kept


def test_without_range_support_the_download_restarts(site: Site, expected: ExpectedFile, part: Path) -> None:
    site.plan = ["break:1000000", "whole"]
    assert download(expected, part).sha256 == SHA
    assert part.read_bytes() == BODY


def test_a_file_that_changed_on_the_server_restarts(site: Site, expected: ExpectedFile, part: Path) -> None:
    site.plan = ["break:1500000", *["status:500"] * MAX_FAILURES]
    with pytest.raises(TwelvefoldError):
        download(expected, part)
    other = BODY[::-1]
    site.files["/m/model.bin"], site.etag = other, '"two"'
    assert download(expected, part).sha256 == hashlib.sha256(other).hexdigest()
    assert part.read_bytes() == other


def test_a_wrong_range_is_not_accepted(site: Site, expected: ExpectedFile, part: Path) -> None:
    site.plan = ["break:1000000", "shift"]
    assert download(expected, part).sha256 == SHA


def test_a_complete_part_file_is_only_checked(site: Site, expected: ExpectedFile, part: Path) -> None:
    download(expected, part)
    site.num_sent = 0
    assert download(expected, part).sha256 == SHA
    assert site.num_sent == 0


def test_a_part_of_another_file_or_without_state_restarts(site: Site, expected: ExpectedFile, part: Path) -> None:
    part.parent.mkdir()
    part.write_bytes(b"x" * 1000)
    assert download(expected, part).sha256 == SHA
    site.files["/m/other.bin"] = BODY[::-1]
    assert download(expected._replace(url=f"{site.address}/m/other.bin"), part).size == len(BODY)
    assert part.read_bytes() == BODY[::-1]


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_temporary_error_is_retried(site: Site, expected: ExpectedFile, part: Path, status: int) -> None:
    site.plan = [f"status:{status}"] * (MAX_FAILURES - 1)
    assert download(expected, part).sha256 == SHA


@pytest.mark.parametrize("status", [404, 403, 410, 401])
def test_a_permanent_error_is_reported_at_once(site: Site, expected: ExpectedFile, part: Path, status: int) -> None:
    site.plan = [f"status:{status}"]
    with pytest.raises(TwelvefoldError, match=rf"answered {status}.*by hand"):
        download(expected, part)
    assert len(site.requests) == 1
    assert not part.exists()


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"md5": "0" * 32}, "expected md5 0000.*, got "),
        ({"sha256": "0" * 64}, "expected sha256 0000.*, got "),
        ({"size": 17}, r"offers 3,000,001 bytes, expected 17"),
    ],
)
def test_a_file_with_a_wrong_size_or_checksum_is_rejected_and_removed(
    site: Site, expected: ExpectedFile, part: Path, known: dict[str, Any], message: str
) -> None:
    with pytest.raises(TwelvefoldError, match=message):
        download(expected._replace(**known), part)
    assert not part.exists()


def test_the_right_size_and_checksums_are_accepted(site: Site, expected: ExpectedFile, part: Path) -> None:
    md5 = hashlib.md5(BODY).hexdigest()
    assert download(expected._replace(size=len(BODY), md5=md5, sha256=SHA), part).sha256 == SHA


def test_too_many_bytes_are_rejected_and_removed(site: Site, expected: ExpectedFile, part: Path) -> None:
    site.plan = ["more"]
    with pytest.raises(TwelvefoldError, match=r"expected 3,000,001 bytes, but the server sent more"):
        download(expected._replace(size=len(BODY)), part)
    assert not part.exists()


def test_a_truncated_file_without_content_length_is_rejected_by_its_size(
    site: Site, expected: ExpectedFile, part: Path
) -> None:
    site.plan = ["short"]
    with pytest.raises(TwelvefoldError, match="expected bytes 3000001, got 1500000"):
        download(expected._replace(size=len(BODY)), part)
    assert not part.exists()


def test_a_web_page_instead_of_the_file_is_rejected(site: Site, expected: ExpectedFile, part: Path) -> None:
    site.plan = ["html"]
    with pytest.raises(TwelvefoldError, match="sent a web page"):
        download(expected, part)
    assert not part.exists()


def test_an_unreachable_or_invalid_url_is_named(part: Path, site: Site) -> None:
    with pytest.raises(TwelvefoldError, match=r"127\.0\.0\.1:9/x failed"):
        download(ExpectedFile("x", "http://127.0.0.1:9/x"), part)
    with pytest.raises(TwelvefoldError, match="not a valid URL"):
        download(ExpectedFile("x", "gopher://127.0.0.1/x"), part)


def test_a_full_disk_is_reported_before_the_download(
    site: Site, expected: ExpectedFile, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twelvefold.download.http.shutil.disk_usage", lambda _: type("Disk", (), {"free": 10}))
    with pytest.raises(TwelvefoldError, match="3,000,001 bytes are needed and 10 are free"):
        download(expected, part)
