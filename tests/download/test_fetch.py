"""`twelvefold fetch` against a local server: paths, recorded checksums, mirrors; no other module uses the network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from twelvefold import cli
from twelvefold.datasets import paper_task_names
from twelvefold.datasets.reading.cards import dataset_card
from twelvefold.download.catalog import Catalog, load_catalog, parse_catalog
from twelvefold.download.fetch import PARTS, RECORDS, fetch, read_records, verify
from twelvefold.schema import TwelvefoldError

from .conftest import Site
from .test_unpack import GOOD, zipped

PLAIN = b"weights " * 50_000
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def catalog(site: Site, tmp_path: Path) -> Catalog:
    site.files["/w/model.bin"] = PLAIN
    site.files["/a/refcoco.zip"] = zipped(tmp_path / "made.zip", GOOD).read_bytes()
    return parse_catalog(
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
        name = "images"
        what = "images"
        how = "fill in the form"
        to = "images/x"
        licence = "theirs"
        """,
        "test",
    )


def files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != ".lock")


def test_every_file_is_stored_at_its_path_and_recorded(catalog: Catalog, tmp_path: Path, site: Site) -> None:
    data = tmp_path / "data"
    summary = fetch(["weights", "refcoco"], data, catalog=catalog)
    assert summary.fetched == ["model", "refcoco"]
    assert files_in(data) == [RECORDS, "refcoco/instances.json", "refcoco/refs(unc).p", "weights/model.bin"]
    assert (data / "weights" / "model.bin").read_bytes() == PLAIN
    assert read_records(data)["model"].size == len(PLAIN)
    assert verify(data) == []
    site.requests.clear()
    assert fetch(["weights", "refcoco"], data, catalog=catalog).present == ["model", "refcoco"]
    assert site.requests == []


def test_an_interrupted_fetch_leaves_no_partial_file_and_continues(
    catalog: Catalog, tmp_path: Path, site: Site
) -> None:
    data = tmp_path / "data"
    site.plan = ["break:100000", *["status:500"] * 9]
    with pytest.raises(TwelvefoldError, match="continues from there"):
        fetch(["model"], data, catalog=catalog)
    assert not (data / "weights").exists()
    assert not (data / RECORDS).exists()
    assert (data / PARTS / "model").stat().st_size == 100_000
    site.plan, site.num_sent = [], 0
    fetch(["model"], data, catalog=catalog)
    assert site.num_sent == len(PLAIN) - 100_000
    assert (data / "weights" / "model.bin").read_bytes() == PLAIN


def test_later_downloads_must_match_the_first(catalog: Catalog, tmp_path: Path, site: Site) -> None:
    data = tmp_path / "data"
    fetch(["model"], data, catalog=catalog)
    (data / "weights" / "model.bin").unlink()
    site.files["/w/model.bin"] = PLAIN[::-1]
    with pytest.raises(TwelvefoldError, match=r"recorded at the first download, in .*fetched\.json"):
        fetch(["model"], data, catalog=catalog)
    assert not (data / "weights" / "model.bin").exists()
    site.files["/w/model.bin"] = PLAIN
    assert fetch(["model"], data, catalog=catalog).fetched == ["model"]


def test_verify_finds_a_changed_file(catalog: Catalog, tmp_path: Path) -> None:
    data = tmp_path / "data"
    fetch(["model", "refcoco"], data, catalog=catalog)
    (data / "weights" / "model.bin").write_bytes(b"W" + PLAIN[1:])
    (data / "refcoco" / "instances.json").unlink()
    problems = "\n".join(verify(data))
    assert re.search(r"weights/model\.bin was changed", problems)
    assert re.search(r"refcoco/instances\.json is missing", problems)
    (data / "weights" / "model.bin").write_bytes(PLAIN[1:])
    with pytest.raises(TwelvefoldError, match="399,999 bytes, but 400,000 were fetched"):
        fetch(["model"], data, catalog=catalog)


def test_a_file_put_there_by_hand_is_not_touched(catalog: Catalog, tmp_path: Path, site: Site) -> None:
    own = tmp_path / "data" / "weights" / "model.bin"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    assert fetch(["model"], tmp_path / "data", catalog=catalog).unchecked == ["model"]
    assert (own.read_bytes(), site.requests) == (b"mine", [])


@pytest.mark.parametrize("layout", ["by host and path", "by name"])
def test_a_mirror_folder_replaces_the_network(
    catalog: Catalog, tmp_path: Path, site: Site, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = site.address.removeprefix("http://")
    copy = tmp_path / "copies" / (f"{host}/w/model.bin" if layout == "by host and path" else "model.bin")
    copy.parent.mkdir(parents=True)
    copy.write_bytes(PLAIN)
    monkeypatch.setenv("TWELVEFOLD_MIRROR", str(tmp_path / "copies"))
    fetch(["model"], tmp_path / "data", catalog=catalog)
    assert (tmp_path / "data" / "weights" / "model.bin").read_bytes() == PLAIN
    with pytest.raises(TwelvefoldError, match=r"the mirror has neither .*refcoco\.zip nor .*refcoco\.zip"):
        fetch(["refcoco"], tmp_path / "data", catalog=catalog)
    assert site.requests == []


def test_a_mirror_url_is_extended_by_host_and_path(catalog: Catalog, tmp_path: Path, site: Site) -> None:
    host = site.address.removeprefix("http://")
    site.files = {f"/copies/{host}/w/model.bin": PLAIN}
    fetch(["model"], tmp_path / "data", mirror=f"{site.address}/copies/", catalog=catalog)
    assert [path for path, _ in site.requests] == [f"/copies/{host}/w/model.bin"]
    with pytest.raises(TwelvefoldError, match="is not a folder"):
        fetch(["refcoco"], tmp_path / "data", mirror=str(tmp_path / "nowhere"), catalog=catalog)


@pytest.mark.parametrize(
    ("name", "message"),
    [("modle", "did you mean 'model'"), ("images", "by hand: fill in the form; then put it at images/x")],
)
def test_a_name_that_cannot_be_fetched_is_explained(catalog: Catalog, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(TwelvefoldError, match=message):
        fetch([name], tmp_path / "data", catalog=catalog)


def test_a_damaged_archive_leaves_no_files(catalog: Catalog, tmp_path: Path, site: Site) -> None:
    site.files["/a/refcoco.zip"] = site.files["/a/refcoco.zip"][:-40]
    with pytest.raises(TwelvefoldError, match="damaged or not an archive"):
        fetch(["refcoco"], tmp_path / "data", catalog=catalog)
    assert not (tmp_path / "data" / "refcoco").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"to": "../x"}, "below the data folder, got ../x"),
        ({"to": "/x"}, "below the data folder, got /x"),
        ({"too": "x"}, "too"),
        ({}, "either `to` or `members`"),
    ],
)
def test_an_invalid_catalog_is_refused(change: dict[str, str], message: str) -> None:
    row = {"name": "x", "what": "x", "url": "x", "licence": "x", "named_in": "x", **change}
    text = "[[item]]\n" + "\n".join(f'{key} = "{value}"' for key, value in row.items())
    with pytest.raises(TwelvefoldError, match=message):
        parse_catalog(text, "test")


def test_the_catalog_covers_every_official_file_of_the_papers_tasks() -> None:
    paths = {path for item in load_catalog().items for path in item.paths}
    by_hand = {item.path.partition("/")[0] for item in load_catalog().by_hand}
    for name in paper_task_names():
        missing = {part.path for part in dataset_card(name).files} - paths
        assert {path.partition("/")[0] for path in missing} <= by_hand, name
    assert {"multi_task_model", "pretrained_model", "detectron_model"} <= {item.name for item in load_catalog().items}


def test_the_list_shows_sizes_licenses_and_manual_downloads(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--list", "--json") == 0
    listed: dict[str, list[dict[str, Any]]] = json.loads(capsys.readouterr().out)
    assert {"url", "licence", "size", "named_in"} <= listed["item"][0].keys()
    assert {"how", "to", "licence"} <= listed["by_hand"][0].keys()
    assert exit_code("--list") == 0
    assert "By hand:" in capsys.readouterr().out


def test_invalid_arguments_exit_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("vqav3", "--data", str(tmp_path)) == 2
    assert "did you mean 'vqav2'" in capsys.readouterr().err
    assert exit_code("--data", str(tmp_path)) == 2
    assert exit_code("--verify", "--data", str(tmp_path)) == 2


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(["fetch", *arguments])
    return int(caught.value.code or 0)


def test_no_other_module_uses_the_network() -> None:
    clients = r"httpx2?|requests|urllib\.request|urllib3|http\.client|socket|ftplib|huggingface_hub"
    imports = re.compile(rf"^\s*(import|from) ({clients})\b", re.MULTILINE)
    importers = {
        path.relative_to(ROOT / "src" / "twelvefold").as_posix()
        for path in (ROOT / "src" / "twelvefold").rglob("*.py")
        if imports.search(path.read_text())
    }
    ranks = "training/launch.py"  # finds a free port on this machine for its own processes
    server = "server/serve.py"  # listens; opens no connection
    hub = {"export/hub.py", "serving/hub_mixin.py"}  # twelvefold.load with a name on a model hub, and push
    assert importers - {ranks, server, *hub} == {"download/http.py"}


def test_the_docs_page_shows_valid_commands_and_names() -> None:
    lines = re.findall(r"^    twelvefold (fetch .*)$", (ROOT / "docs" / "fetch.md").read_text(), re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        _, bound, _ = cli.app.parse_args(line.split(), exit_on_error=False, print_error=False)
        load_catalog().select(bound.args)
