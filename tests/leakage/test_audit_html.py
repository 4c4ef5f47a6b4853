"""The page says what the JSON says, shows pictures that look alike, needs nothing from outside, and escapes all."""

from __future__ import annotations

import csv
import html.parser
import io
import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from twelvefold.duplicates.evidence import CollectedEvidence
from twelvefold.leakage.audit import AuditInputs, AuditResult, audit
from twelvefold.leakage.overlap import Collection, SplitContent
from twelvefold.reporting.percent import format_percent
from twelvefold.schema import ImageKey, SameImageLink


def part(keys: str, text: str = "") -> SplitContent:
    return SplitContent.from_pairs((ImageKey.parse(key), text) for key in keys.split())


@pytest.fixture
def audited(tmp_path: Path) -> AuditResult:
    """``cats`` tests on four pictures, of which ``dogs`` has one by name, one by looks; names that need escaping."""
    pictures = {ImageKey.parse(key): tmp_path / f"{n}.png" for n, key in enumerate(("coco/3", "vg/3"))}
    for path in pictures.values():
        Image.new("RGB", (500, 400), (200, 30, 30)).save(path)
    sets = [
        Collection(
            "cats", "task", {"test": part("coco/1 coco/2 coco/3 coco/4", "A <b>cat</b>?"), "val": part("coco/9")}
        ),
        Collection("dogs & co", "own", {"train": part("coco/1 vg/3", "a b cat b")}),
        Collection("web", "pretraining", {"train": part("coco/77")}),
    ]
    links = [SameImageLink(ImageKey("vg", "3"), ImageKey("coco", "3"), "looks", "hashes <3> bits apart")]
    found = CollectedEvidence(links, {ImageKey("coco", "5"): "truncated"}, ["a map is missing"])
    return audit(AuditInputs(sets, ["ids", "looks"], found, pictures, {"gqa": "not there"}, []))


class Cells(html.parser.HTMLParser):
    """The tables of a page: by caption, row and column, the texts of a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[list[str]]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append([])
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.in_cell and data.strip():
            self.tables[-1][-1][-1].append(data.strip())


def parsed(page: str) -> Cells:
    cells = Cells()
    cells.feed(page)
    return cells


def test_page_csv_and_json_agree_in_every_cell(audited: AuditResult) -> None:
    whole = json.loads(msgspec.json.encode(audited.report))
    lines = list(csv.DictReader(io.StringIO(audited.report.csv())))
    assert len(lines) == len(whole["tests"]) + len(whole["vals"]) == 5
    heat = parsed(audited.html()).tables[0]
    assert [cell[0] for cell in heat[0][2:]] == ["Tasks", "Your own", "Pretraining"]
    names = [cell[0] for cell in heat[1]][2:]
    shown = {(row[0][0], name): cell for row in heat[2:] for name, cell in zip(names, row[2:], strict=True)}
    sentences = {(one["row"], one["column"]): one["sentence"] for one in whole["findings"]}
    for line, cell in zip(lines[: len(whole["tests"])], whole["tests"], strict=True):
        at = (cell["row"], cell["column"])
        assert (line["row"], line["column"]) == at
        assert (int(line["shared"]), int(line["photographs"])) == (cell["count"], cell["total"])
        assert float(line["percent"]) == pytest.approx(cell["percent"], abs=1e-4)
        assert {k: int(line[f"by_{k}"]) for k in cell["by_evidence"]} == cell["by_evidence"]
        wanted = [format_percent(cell["count"], cell["total"])]
        assert shown[at] == ([*wanted, str(cell["count"]), sentences[at]] if cell["count"] else wanted)
    assert {at: cell[0] for at, cell in shown.items()} == {
        ("cats", "cats"): "·",
        ("cats", "dogs & co"): "50",
        ("cats", "web"): "·",
    }


def test_texts_and_their_pictures_are_on_the_page(audited: AuditResult) -> None:
    text = audited.report.texts[0]
    assert (text.total, text.reused, text.same_image) == (4, 4, 2)
    table = parsed(audited.html()).tables[1]
    assert table[-1][2][:2] == ["50", "100 %"]
    assert "2 of 4 texts occur there with the same image" in audited.report.findings[0].sentence


def test_pictures_that_look_alike_stand_side_by_side(audited: AuditResult) -> None:
    assert [(one.key, one.other, one.evidence) for one in audited.report.near_duplicates] == [
        ("coco/3", "vg/3", "looks")
    ]
    images = [attributes for tag, attributes in parsed(audited.html()).tags if tag == "img"]
    assert [image["alt"] for image in images] == ["coco/3, of cats", "vg/3, of dogs & co"]
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in images)
    assert "coco/3: cats, test" in audited.html()
    gone = replace(audited, inputs=replace(audited.inputs, images={}))
    assert "The image coco/3 is not in the data folder." in gone.html()


def test_the_page_needs_nothing_from_outside_and_escapes_what_it_is_given(audited: AuditResult) -> None:
    page = audited.html()
    assert "dogs &amp; co" in page
    assert "hashes &lt;3&gt; bits" in page
    assert "://" not in page
    assert not [tag for tag, _ in parsed(page).tags if tag in ("script", "link", "iframe")]
    assert "default-src 'none'" in page


def test_what_could_not_be_known_is_on_the_page(audited: AuditResult) -> None:
    page = audited.html()
    for said in (
        "a map is missing",
        "coco/5: truncated",
        "gqa: not there",
        "Some things could not be found out or read",
    ):
        assert said in page


def test_tables_can_be_read_aloud_and_cells_reached_by_keyboard(audited: AuditResult) -> None:
    tags = parsed(audited.html()).tags
    heads = [attributes for tag, attributes in tags if tag == "th"]
    assert {attributes.get("scope") for attributes in heads} == {"col", "colgroup", "row"}
    assert [tag for tag, _ in tags].count("caption") == 4
    shaded = [attributes for tag, attributes in tags if tag == "td" and "--share" in str(attributes.get("style"))]
    assert shaded
    assert all(attributes["tabindex"] == "0" for attributes in shaded)


def test_without_leaks_the_page_says_so() -> None:
    sets = [Collection("a", "own", {"test": part("coco/1")}), Collection("b", "own", {"train": part("coco/2")})]
    page = audit(AuditInputs(sets, ["ids"], CollectedEvidence([]), {}, {}, [])).html()
    assert "No test image is in a training set" in page
    assert "leak" not in page.split("</h1>")[0].split("<h1>")[1]


@pytest.mark.parametrize(
    ("count", "whole", "said"),
    [(0, 9, "·"), (1, 1000, "<1"), (5, 1000, "<1"), (6, 1000, "1"), (43, 100, "43"), (999, 1000, ">99"), (7, 7, "100")],
)
def test_a_share_never_hides_a_few(count: int, whole: int, said: str) -> None:
    assert format_percent(count, whole) == said
