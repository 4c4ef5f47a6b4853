"""Downloads from a server that breaks off, errs, ignores ranges, and sends other bytes, too many or too few."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import pytest

from twelvefold.download.http import TRIES, Wanted, download
from twelvefold.schema import TwelvefoldError

from .conftest import Site

BODY = random.Random(5).randbytes(3_000_001)
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "parts" / "model"


@pytest.fixture
def wanted(site: Site) -> Wanted:
    site.files["/m/model.bin"] = BODY
    return Wanted("model", f"{site.address}/m/model.bin")


def test_a_file_comes_as_it_is_with_its_checksum(site: Site, wanted: Wanted, part: Path) -> None:
    assert download(wanted, part) == (len(BODY), SHA)
    assert part.read_bytes() == BODY


@pytest.mark.parametrize("etag", ['"one"', "", 'W/"weak"'])
def test_a_break_is_gone_on_from_and_no_byte_comes_twice(site: Site, wanted: Wanted, part: Path, etag: str) -> None:
    site.etag = etag
    site.plan = ["break:1000000", "break:700000"]
    assert download(wanted, part) == (len(BODY), SHA)
    assert part.read_bytes() == BODY
    assert site.asked[0][1] == ""
    assert all(asked.startswith("bytes=") for _, asked in site.asked[1:])
    assert site.sent == len(BODY)


def test_a_call_that_gave_up_is_gone_on_from_by_the_next(site: Site, wanted: Wanted, part: Path) -> None:
    site.plan = ["break:2000000", *["status:503"] * TRIES]
    with pytest.raises(TwelvefoldError, match=r"broke off .* the same command goes on"):
        download(wanted, part)
    kept = part.stat().st_size
    assert 0 < kept <= 2_000_000
    site.plan, site.sent = [], 0
    assert download(wanted, part).sha256 == SHA
    assert site.sent == len(BODY) - kept


def test_a_server_without_ranges_sends_it_from_the_start(site: Site, wanted: Wanted, part: Path) -> None:
    site.plan = ["break:1000000", "whole"]
    assert download(wanted, part).sha256 == SHA
    assert part.read_bytes() == BODY


def test_a_file_that_changed_between_is_not_glued_together(site: Site, wanted: Wanted, part: Path) -> None:
    site.plan = ["break:1500000", *["status:500"] * TRIES]
    with pytest.raises(TwelvefoldError):
        download(wanted, part)
    other = BODY[::-1]
    site.files["/m/model.bin"], site.etag = other, '"two"'
    assert download(wanted, part).sha256 == hashlib.sha256(other).hexdigest()
    assert part.read_bytes() == other


def test_a_part_from_another_place_than_asked_for_is_not_taken(site: Site, wanted: Wanted, part: Path) -> None:
    site.plan = ["break:1000000", "shift"]
    assert download(wanted, part).sha256 == SHA


def test_a_part_that_is_whole_already_is_only_checked(site: Site, wanted: Wanted, part: Path) -> None:
    download(wanted, part)
    site.sent = 0
    assert download(wanted, part).sha256 == SHA
    assert site.sent == 0


def test_a_part_of_another_file_or_without_its_note_is_not_gone_on_from(site: Site, wanted: Wanted, part: Path) -> None:
    part.parent.mkdir()
    part.write_bytes(b"x" * 1000)
    assert download(wanted, part).sha256 == SHA
    site.files["/m/other.bin"] = BODY[::-1]
    assert download(wanted._replace(url=f"{site.address}/m/other.bin"), part).size == len(BODY)
    assert part.read_bytes() == BODY[::-1]


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_an_error_of_the_moment_is_tried_again(site: Site, wanted: Wanted, part: Path, status: int) -> None:
    site.plan = [f"status:{status}"] * (TRIES - 1)
    assert download(wanted, part).sha256 == SHA


@pytest.mark.parametrize("status", [404, 403, 410, 401])
def test_an_error_that_stays_is_said_at_once(site: Site, wanted: Wanted, part: Path, status: int) -> None:
    site.plan = [f"status:{status}"]
    with pytest.raises(TwelvefoldError, match=rf"answered {status}.*by hand"):
        download(wanted, part)
    assert len(site.asked) == 1
    assert not part.exists()


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"md5": "0" * 32}, "expected md5 0000.*, got "),
        ({"sha256": "0" * 64}, "expected sha256 0000.*, got "),
        ({"size": 17}, r"offers 3,000,001 bytes, expected 17"),
    ],
)
def test_other_bytes_than_known_are_refused_and_not_kept(
    site: Site, wanted: Wanted, part: Path, known: dict[str, Any], said: str
) -> None:
    with pytest.raises(TwelvefoldError, match=said):
        download(wanted._replace(**known), part)
    assert not part.exists()


def test_the_right_size_and_sums_are_accepted(site: Site, wanted: Wanted, part: Path) -> None:
    md5 = hashlib.md5(BODY).hexdigest()
    assert download(wanted._replace(size=len(BODY), md5=md5, sha256=SHA), part).sha256 == SHA


def test_too_much_is_cut_off_and_not_kept(site: Site, wanted: Wanted, part: Path) -> None:
    site.plan = ["more"]
    with pytest.raises(TwelvefoldError, match=r"expected 3,000,001 bytes, but more came"):
        download(wanted._replace(size=len(BODY)), part)
    assert not part.exists()


def test_too_little_without_a_stated_length_is_refused_by_its_size(site: Site, wanted: Wanted, part: Path) -> None:
    site.plan = ["short"]
    with pytest.raises(TwelvefoldError, match="expected bytes 3000001, got 1500000"):
        download(wanted._replace(size=len(BODY)), part)
    assert not part.exists()


def test_a_page_instead_of_the_file_is_refused(site: Site, wanted: Wanted, part: Path) -> None:
    site.plan = ["html"]
    with pytest.raises(TwelvefoldError, match="sent a web page"):
        download(wanted, part)
    assert not part.exists()


def test_nobody_at_the_address_is_said_with_it(part: Path, site: Site) -> None:
    with pytest.raises(TwelvefoldError, match=r"127\.0\.0\.1:9/x broke off"):
        download(Wanted("x", "http://127.0.0.1:9/x"), part)
    with pytest.raises(TwelvefoldError, match="no address to fetch from"):
        download(Wanted("x", "gopher://127.0.0.1/x"), part)


def test_a_full_disk_is_said_before_anything_comes(
    site: Site, wanted: Wanted, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twelvefold.download.http.shutil.disk_usage", lambda _: type("Disk", (), {"free": 10}))
    with pytest.raises(TwelvefoldError, match="3,000,001 bytes are to come and 10 are free"):
        download(wanted, part)
