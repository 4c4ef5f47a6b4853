"""The page agrees with the JSON, shows near-duplicates, loads nothing from outside, and escapes its input."""

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


def content(keys: str, text: str = "") -> SplitContent:
    return SplitContent.from_pairs((ImageKey.parse(key), text) for key in keys.split())


@pytest.fixture
def audited(tmp_path: Path) -> AuditResult:
    """Audit a test set of four images, of which another set has one by id and one by looks; names need escaping."""
    images = {ImageKey.parse(key): tmp_path / f"{n}.png" for n, key in enumerate(("coco/3", "vg/3"))}
    for path in images.values():
        Image.new("RGB", (500, 400), (200, 30, 30)).save(path)
    sets = [
        Collection(
            "cats", "task", {"test": content("coco/1 coco/2 coco/3 coco/4", "A <b>cat</b>?"), "val": content("coco/9")}
        ),
        Collection("dogs & co", "own", {"train": content("coco/1 vg/3", "a b cat b")}),
        Collection("web", "pretraining", {"train": content("coco/77")}),
    ]
    links = [SameImageLink(ImageKey("vg", "3"), ImageKey("coco", "3"), "looks", "hashes <3> bits apart")]
    found = CollectedEvidence(links, {ImageKey("coco", "5"): "truncated"}, ["a map is missing"])
    return audit(AuditInputs(sets, ["ids", "looks"], found, images, {"gqa": "not there"}, []))


class PageParser(html.parser.HTMLParser):
    """Collects the tables of a page (by row and column, the texts of a cell) and its tags."""

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


def parse(page: str) -> PageParser:
    parser = PageParser()
    parser.feed(page)
    return parser


def test_page_csv_and_json_agree_in_every_cell(audited: AuditResult) -> None:
    report = json.loads(msgspec.json.encode(audited.report))
    lines = list(csv.DictReader(io.StringIO(audited.report.csv())))
    assert len(lines) == len(report["tests"]) + len(report["vals"]) == 5
    heat = parse(audited.html()).tables[0]
    assert [cell[0] for cell in heat[0][2:]] == ["Tasks", "Your own", "Pretraining"]
    names = [cell[0] for cell in heat[1]][2:]
    cells_on_page = {(row[0][0], name): cell for row in heat[2:] for name, cell in zip(names, row[2:], strict=True)}
    sentences = {(finding["row"], finding["column"]): finding["sentence"] for finding in report["findings"]}
    for line, cell in zip(lines[: len(report["tests"])], report["tests"], strict=True):
        position = (cell["row"], cell["column"])
        assert (line["row"], line["column"]) == position
        assert (int(line["shared"]), int(line["photographs"])) == (cell["count"], cell["total"])
        assert float(line["percent"]) == pytest.approx(cell["percent"], abs=1e-4)
        assert {k: int(line[f"by_{k}"]) for k in cell["by_evidence"]} == cell["by_evidence"]
        expected = [format_percent(cell["count"], cell["total"])]
        assert cells_on_page[position] == (
            [*expected, str(cell["count"]), sentences[position]] if cell["count"] else expected
        )
    assert {position: cell[0] for position, cell in cells_on_page.items()} == {
        ("cats", "cats"): "·",
        ("cats", "dogs & co"): "50",
        ("cats", "web"): "·",
    }


def test_text_overlap_is_on_the_page(audited: AuditResult) -> None:
    text = audited.report.texts[0]
    assert (text.total, text.reused, text.same_image) == (4, 4, 2)
    table = parse(audited.html()).tables[1]
    assert table[-1][2][:2] == ["50", "100 %"]
    assert "2 of 4 texts occur there with the same image" in audited.report.findings[0].sentence


def test_near_duplicates_are_shown_next_to_each_other(audited: AuditResult) -> None:
    assert [(pair.key, pair.other, pair.evidence) for pair in audited.report.near_duplicates] == [
        ("coco/3", "vg/3", "looks")
    ]
    images = [attributes for tag, attributes in parse(audited.html()).tags if tag == "img"]
    assert [image["alt"] for image in images] == ["coco/3, of cats", "vg/3, of dogs & co"]
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in images)
    assert "coco/3: cats, test" in audited.html()
    without_files = replace(audited, inputs=replace(audited.inputs, images={}))
    assert "The image coco/3 is not in the data folder." in without_files.html()


def test_the_page_loads_nothing_from_outside_and_escapes_its_input(audited: AuditResult) -> None:
    page = audited.html()
    assert "dogs &amp; co" in page
    assert "hashes &lt;3&gt; bits" in page
    assert "://" not in page
    assert not [tag for tag, _ in parse(page).tags if tag in ("script", "link", "iframe")]
    assert "default-src 'none'" in page


def test_limitations_are_on_the_page(audited: AuditResult) -> None:
    page = audited.html()
    for text in (
        "a map is missing",
        "coco/5: truncated",
        "gqa: not there",
        "Some things could not be found out or read",
    ):
        assert text in page


def test_tables_are_accessible_to_screen_readers_and_keyboards(audited: AuditResult) -> None:
    tags = parse(audited.html()).tags
    headers = [attributes for tag, attributes in tags if tag == "th"]
    assert {attributes.get("scope") for attributes in headers} == {"col", "colgroup", "row"}
    assert [tag for tag, _ in tags].count("caption") == 4
    shaded = [attributes for tag, attributes in tags if tag == "td" and "--share" in str(attributes.get("style"))]
    assert shaded
    assert all(attributes["tabindex"] == "0" for attributes in shaded)


def test_a_page_without_leaks_states_that() -> None:
    sets = [Collection("a", "own", {"test": content("coco/1")}), Collection("b", "own", {"train": content("coco/2")})]
    page = audit(AuditInputs(sets, ["ids"], CollectedEvidence([]), {}, {}, [])).html()
    assert "No test image is in a training set" in page
    assert "leak" not in page.split("</h1>")[0].split("<h1>")[1]


@pytest.mark.parametrize(
    ("count", "total", "text"),
    [(0, 9, "·"), (1, 1000, "<1"), (5, 1000, "<1"), (6, 1000, "1"), (43, 100, "43"), (999, 1000, ">99"), (7, 7, "100")],
)
def test_a_percentage_never_hides_a_few_images(count: int, total: int, text: str) -> None:
    assert format_percent(count, total) == text
