"""`twelvefold fetch` against a server on this machine: places, pins, mirrors, and that nothing else opens a socket."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from twelvefold import cli
from twelvefold.datasets.reading.cards import PUBLISHED
from twelvefold.download.catalog import Catalogue, parse, shipped
from twelvefold.download.fetch import PARTS, PINS, fetch, read_pins, verify
from twelvefold.schema import TwelvefoldError

from .conftest import Site
from .test_unpack import GOOD, zipped

PLAIN = b"weights " * 50_000
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def catalogue(site: Site, tmp_path: Path) -> Catalogue:
    site.files["/w/model.bin"] = PLAIN
    site.files["/a/refcoco.zip"] = zipped(tmp_path / "made.zip", GOOD).read_bytes()
    return parse(
        f"""
        [[item]]
        name = "model"
        what = "a model"
        groups = ["weights"]
        url = "{site.address}/w/model.bin"
        to = "weights/model.bin"
        licence = "MIT"
        named_in = "here"
        [[item]]
        name = "refcoco"
        what = "expressions"
        url = "{site.address}/a/refcoco.zip"
        members = {{ "refcoco/refs(unc).p" = "refcoco/refs(unc).p", "refcoco/instances.json" = "instances.json" }}
        licence = "MIT"
        named_in = "here"
        [[by_hand]]
        name = "pictures"
        what = "pictures"
        how = "fill in the form"
        to = "images/x"
        licence = "theirs"
        """,
        "test",
    )


def files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != ".lock")


def test_everything_goes_to_its_place_and_is_pinned(catalogue: Catalogue, tmp_path: Path, site: Site) -> None:
    data = tmp_path / "data"
    summary = fetch(["weights", "refcoco"], data, catalogue=catalogue)
    assert summary.fetched == ["model", "refcoco"]
    assert files_in(data) == [PINS, "refcoco/instances.json", "refcoco/refs(unc).p", "weights/model.bin"]
    assert (data / "weights" / "model.bin").read_bytes() == PLAIN
    assert read_pins(data)["model"].size == len(PLAIN)
    assert verify(data) == []
    site.asked.clear()
    assert fetch(["weights", "refcoco"], data, catalogue=catalogue).there == ["model", "refcoco"]
    assert site.asked == []


def test_a_stopped_fetch_leaves_no_half_file_and_goes_on(catalogue: Catalogue, tmp_path: Path, site: Site) -> None:
    data = tmp_path / "data"
    site.plan = ["break:100000", *["status:500"] * 9]
    with pytest.raises(TwelvefoldError, match="goes on from there"):
        fetch(["model"], data, catalogue=catalogue)
    assert not (data / "weights").exists()
    assert not (data / PINS).exists()
    assert (data / PARTS / "model").stat().st_size == 100_000
    site.plan, site.sent = [], 0
    fetch(["model"], data, catalogue=catalogue)
    assert site.sent == len(PLAIN) - 100_000
    assert (data / "weights" / "model.bin").read_bytes() == PLAIN


def test_the_first_download_is_what_later_ones_are_held_to(catalogue: Catalogue, tmp_path: Path, site: Site) -> None:
    data = tmp_path / "data"
    fetch(["model"], data, catalogue=catalogue)
    (data / "weights" / "model.bin").unlink()
    site.files["/w/model.bin"] = PLAIN[::-1]
    with pytest.raises(TwelvefoldError, match=r"pinned at the first download, in .*fetched\.json"):
        fetch(["model"], data, catalogue=catalogue)
    assert not (data / "weights" / "model.bin").exists()
    site.files["/w/model.bin"] = PLAIN
    assert fetch(["model"], data, catalogue=catalogue).fetched == ["model"]


def test_a_changed_file_is_found(catalogue: Catalogue, tmp_path: Path) -> None:
    data = tmp_path / "data"
    fetch(["model", "refcoco"], data, catalogue=catalogue)
    (data / "weights" / "model.bin").write_bytes(b"W" + PLAIN[1:])
    (data / "refcoco" / "instances.json").unlink()
    said = "\n".join(verify(data))
    assert re.search(r"weights/model\.bin was changed", said)
    assert re.search(r"refcoco/instances\.json is missing", said)
    (data / "weights" / "model.bin").write_bytes(PLAIN[1:])
    with pytest.raises(TwelvefoldError, match="399,999 bytes, 400,000 were fetched"):
        fetch(["model"], data, catalogue=catalogue)


def test_a_file_put_there_by_hand_is_left_alone(catalogue: Catalogue, tmp_path: Path, site: Site) -> None:
    own = tmp_path / "data" / "weights" / "model.bin"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    assert fetch(["model"], tmp_path / "data", catalogue=catalogue).unchecked == ["model"]
    assert (own.read_bytes(), site.asked) == (b"mine", [])


@pytest.mark.parametrize("laid_out", ["by host and path", "by name"])
def test_a_folder_of_copies_takes_the_place_of_the_network(
    catalogue: Catalogue, tmp_path: Path, site: Site, laid_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = site.address.removeprefix("http://")
    copy = tmp_path / "copies" / (f"{host}/w/model.bin" if laid_out == "by host and path" else "model.bin")
    copy.parent.mkdir(parents=True)
    copy.write_bytes(PLAIN)
    monkeypatch.setenv("TWELVEFOLD_MIRROR", str(tmp_path / "copies"))
    fetch(["model"], tmp_path / "data", catalogue=catalogue)
    assert (tmp_path / "data" / "weights" / "model.bin").read_bytes() == PLAIN
    with pytest.raises(TwelvefoldError, match=r"the mirror has no .*refcoco\.zip and no .*refcoco\.zip"):
        fetch(["refcoco"], tmp_path / "data", catalogue=catalogue)
    assert site.asked == []


def test_a_mirrors_address_is_asked_by_host_and_path(catalogue: Catalogue, tmp_path: Path, site: Site) -> None:
    host = site.address.removeprefix("http://")
    site.files = {f"/copies/{host}/w/model.bin": PLAIN}
    fetch(["model"], tmp_path / "data", mirror=f"{site.address}/copies/", catalogue=catalogue)
    assert [path for path, _ in site.asked] == [f"/copies/{host}/w/model.bin"]
    with pytest.raises(TwelvefoldError, match="is no folder"):
        fetch(["refcoco"], tmp_path / "data", mirror=str(tmp_path / "nowhere"), catalogue=catalogue)


@pytest.mark.parametrize(
    ("name", "said"),
    [("modle", "did you mean 'model'"), ("pictures", "by hand: fill in the form; then put it at images/x")],
)
def test_what_cannot_be_fetched_is_said(catalogue: Catalogue, tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(TwelvefoldError, match=said):
        fetch([name], tmp_path / "data", catalogue=catalogue)


def test_a_damaged_archive_leaves_nothing_in_its_place(catalogue: Catalogue, tmp_path: Path, site: Site) -> None:
    site.files["/a/refcoco.zip"] = site.files["/a/refcoco.zip"][:-40]
    with pytest.raises(TwelvefoldError, match="damaged or no archive"):
        fetch(["refcoco"], tmp_path / "data", catalogue=catalogue)
    assert not (tmp_path / "data" / "refcoco").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"to": "../x"}, "below the data folder, got ../x"),
        ({"to": "/x"}, "below the data folder, got /x"),
        ({"too": "x"}, "too"),
        ({}, "either `to` or `members`"),
    ],
)
def test_a_catalogue_that_cannot_be_is_refused(change: dict[str, str], said: str) -> None:
    row = {"name": "x", "what": "x", "url": "x", "licence": "x", "named_in": "x", **change}
    text = "[[item]]\n" + "\n".join(f'{key} = "{value}"' for key, value in row.items())
    with pytest.raises(TwelvefoldError, match=said):
        parse(text, "test")


def test_the_shipped_catalogue_gets_every_official_file_or_says_how_it_is_asked_for() -> None:
    places = {place for item in shipped().item for place in item.places}
    asked = {one.to.partition("/")[0] for one in shipped().by_hand}
    for name, published in PUBLISHED.items():
        missing = {part.path for part in published.files} - places
        assert {path.partition("/")[0] for path in missing} <= asked, name
    assert {"multi_task_model", "pretrained_model", "detectron_model"} <= {item.name for item in shipped().item}


def test_the_list_says_sizes_licences_and_what_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("--list", "--json") == 0
    said: dict[str, list[dict[str, Any]]] = json.loads(capsys.readouterr().out)
    assert {"url", "licence", "size", "named_in"} <= said["item"][0].keys()
    assert {"how", "to", "licence"} <= said["by_hand"][0].keys()
    assert leave("--list") == 0
    assert "By hand:" in capsys.readouterr().out


def test_the_command_names_what_is_wrong_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("vqav3", "--data", str(tmp_path)) == 2
    assert "did you mean 'vqav2'" in capsys.readouterr().err
    assert leave("--data", str(tmp_path)) == 2
    assert leave("--verify", "--data", str(tmp_path)) == 2


def leave(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(["fetch", *arguments])
    return int(left.value.code or 0)


def test_no_other_module_opens_the_network() -> None:
    clients = r"httpx2?|requests|urllib\.request|urllib3|http\.client|socket|ftplib|huggingface_hub"
    opens = re.compile(rf"^\s*(import|from) ({clients})\b", re.MULTILINE)
    found = {
        path.relative_to(ROOT / "src" / "twelvefold").as_posix()
        for path in (ROOT / "src" / "twelvefold").rglob("*.py")
        if opens.search(path.read_text())
    }
    ranks = "training/distributed.py"  # asks this machine for a free port, over which its own processes meet
    server = "server/serve.py"  # listens; it calls nobody
    hub = {"export/hub.py", "serving/hub_mixin.py"}  # twelvefold.load with a name on a model hub, and push
    assert found - {ranks, server, *hub} == {"download/http.py"}


def test_the_page_shows_commands_and_names_that_there_are() -> None:
    lines = re.findall(r"^    twelvefold (fetch .*)$", (ROOT / "docs" / "fetch.md").read_text(), re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        _, bound, _ = cli.app.parse_args(line.split(), exit_on_error=False, print_error=False)
        shipped().named(bound.args)
