"""The report of a run: page and JSON agree, the page needs no network, and missing parts are named."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.reporting.run_files import IMAGES, TEXT, write_run

from twelvefold import datasets
from twelvefold.evaluation.predictions import read_predictions, write_predictions
from twelvefold.evaluation.scores import Baselines, read_scores, write_scores
from twelvefold.reporting.paper import paper_score
from twelvefold.reporting.report import report
from twelvefold.schema import TwelvefoldError
from twelvefold.splits.policy import describe_cleaning
from twelvefold.store import atomic_files
from twelvefold.store.prepared import MANIFEST

VOID_TAGS = ("meta", "img", "path", "rect", "use", "circle", "col")


class Elements(HTMLParser):
    """The elements of a page with their attributes and text; checks that tags are closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, {name: value or "" for name, value in attrs}, []))
        if tag not in VOID_TAGS:
            self._open.append(self.all[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, {name: value or "" for name, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        for _, _, text in self._open:
            text.append(data)

    def find(self, tag: str, **classes: str) -> list[tuple[dict[str, str], str]]:
        return [
            (attributes, " ".join("".join(text).split()))
            for name, attributes, text in self.all
            if name == tag and all(value in attributes.get(key, "").split() for key, value in classes.items())
        ]


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("reported") / "toy"
    write_run(run)
    report(run)
    return run


@pytest.fixture
def run(reported: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may change."""
    return Path(shutil.copytree(reported, tmp_path / "toy"))


@pytest.fixture(scope="module")
def html(reported: Path) -> str:
    return (reported / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Elements:
    return Elements(html)


def cells(html: str, task: str) -> dict[str, str]:
    """Return the cells of a task's row by their labels, and the row's header as ``name``."""
    row = re.search(rf'<tr [^>]*id="score-{re.escape(task)}".*?</tr>', html, re.DOTALL)
    assert row
    inside = Elements(row[0])
    by_label = {a["data-label"]: text for a, text in inside.find("td") if "data-label" in a}
    return by_label | {"name": inside.find("th")[0][1]}


def test_page_and_json_have_the_same_scores(reported: Path, html: str) -> None:
    tasks = atomic_files.read_json(reported / "report.json")["tasks"]
    assert list(tasks) == list(datasets.paper_task_names())
    for name, entry in tasks.items():
        shown = cells(html, name)
        assert shown["Score"] == f"{entry['score']:.1f}"
        assert shown["95 %"] == "–".join(f"{side:.1f}" for side in entry["ci95"])
        assert (shown["Chance"], shown["Majority"]) == (f"{entry['chance']:.1f}", f"{entry['majority']:.1f}")
        assert (shown["Text only"], shown["Image only"]) == (
            f"{entry['blind_text']:.1f}",
            f"{entry['blind_image']:.1f}",
        )
        assert shown["Gap"] == f"+{entry['score'] - 30.0:.1f}"
        paper = paper_score(name)
        assert paper
        assert shown["Paper*"] == f"{paper.score:.1f}"


def test_json_has_the_documented_keys(reported: Path) -> None:
    entry = atomic_files.read_json(reported / "report.json")
    keys = {"metric", "split", "score", "n", "ci95", "chance", "majority", "blind_text", "blind_image"}
    assert len(entry["tasks"]) == 12
    assert all(keys | {"paper", "by_kind", "also"} <= set(task) for task in entry["tasks"].values())
    assert entry["average"] == pytest.approx(65.5)
    assert entry["seconds"] == 121.0
    assert entry["peak_memory_gb"] == 2.25
    assert entry["training"]["stops"]["gqa"] == 1
    assert entry["tasks"]["gqa"]["by_kind"]["left"] == {"score": 40.0, "n": 3}


def test_confidence_is_plotted_with_and_without_temperatures(reported: Path, page: Elements) -> None:
    plots = [attributes for name, attributes, _ in page.all if attributes.get("class") == "confidence-plot"]
    assert len(plots) == len(datasets.paper_task_names())
    assert plots[0]["aria-label"] == "VQAv2: expected calibration error 3.2 points, 12.5 without a temperature"
    lines = [attributes["d"] for name, attributes, _ in page.all if name == "path" and "class" in attributes]
    assert "M25 80L75 20" in lines
    assert "M90 50h0" in lines
    entry = atomic_files.read_json(reported / "report.json")["tasks"]["gqa"]["reliability"]
    assert (entry["temperature"], entry["error"], entry["error_raw"]) == (1.75, 3.25, 12.5)


def test_the_report_says_when_how_and_on_what_it_was_made(reported: Path, page: Elements) -> None:
    facts = list(zip((n for _, n in page.find("dt")), (n for _, n in page.find("dd")), strict=False))
    pairs = {
        ("Trained", "2026-01-30 10:00 UTC"),
        ("Command", "twelvefold train toy.toml run"),
        ("Code", "twelvefold 0.1"),
        ("Evaluated", "2026-01-31 14:05 UTC"),
        ("Command", "twelvefold evaluate run"),
        ("Code", "twelvefold 0.1, commit 0123456789ab with uncommitted changes"),
        ("Trained on", "1,000 examples of 12 tasks about 600 images in the folder photos"),
        ("Test data", "folder photos"),
    }
    assert pairs <= set(facts)
    assert page.find("p", **{"class": "kicker"})[0][1].endswith("recipe toy · 2026-01-31")
    entry = atomic_files.read_json(reported / "report.json")
    assert entry["evaluated"]["commit"] == "0123456789ab-dirty"
    assert entry["trained"]["date"] == "2026-01-30 10:00 UTC"


def test_a_recipes_world_is_not_named_as_the_data(run: Path) -> None:
    """A recipe that can draw a world may have trained on other data."""
    (run / "recipe.toml").write_text('name = "toy"\ntasks = ["vqav2"]\n\n[world]\nimages = 77\nseed = 5\n')
    report(run)
    html = (run / "report.html").read_text(encoding="utf-8").split("<details>")[0]
    assert "77 images" not in html


@pytest.mark.parametrize("policy", ["paper", "ids", "lists", "none", ""])
def test_the_report_states_the_policy_that_the_data_were_cleaned_by(run: Path, policy: str) -> None:
    path = run / "prepared" / MANIFEST
    manifest = atomic_files.read_json(path)
    assert isinstance(manifest, dict)
    atomic_files.write_json(path, manifest | {"policy": policy, "clean": policy != "none"})
    report(run)
    assert describe_cleaning(policy) in unescape((run / "report.html").read_text(encoding="utf-8"))


def test_the_report_says_where_a_temperature_was_not_kept(page: Elements) -> None:
    text = " ".join(text for _, text in page.find("section"))
    assert "Not used, because it did not help on the other half: GQA." in text
    assert "drawn with seed 0" in text
    captions = [text for _, text in page.find("p", **{"class": "small"}) if "checked on" in text]
    assert len(captions) == 12
    refused = (
        "not used: temperature 1.75, error on the other half 3.5 without, 4.5 with it; fitted on 500, checked on 501"
    )
    assert sum(text.startswith(refused) for text in captions) == 1


def test_curves_have_axis_values_and_values_under_the_pointer(page: Elements) -> None:
    values = [a["data-value"] for a, _ in page.find("i", **{"class": "hit"})]
    assert {"50.0 % at iteration 2", "4.00 at iteration 1", "0.001 at iteration 3"} <= set(values)
    assert "stated 75 %, right 80 % (3 answers)" in values
    axes = [text for _, text in page.find("span", **{"class": "axis"})]
    assert {"100", "0", "4.00", "0.001"} <= set(axes)


def test_independent_probabilities_are_explained(html: str) -> None:
    assert "For VQAv2, GQA, VG QA each answer is judged separately" in " ".join(html.split())


def remove_reliability(run: Path) -> None:
    """Rewrite the scores as a version without reliability wrote them."""
    old = atomic_files.read_json(run / "scores.json")
    for task in old["tasks"].values():
        del task["reliability"]
    atomic_files.write_json(run / "scores.json", old)


def test_the_page_needs_no_network(html: str, page: Elements) -> None:
    assert "://" not in html
    assert not re.search(r"url\(|@import|<script|<link|<iframe", html)
    assert all(a["src"].startswith("data:image/") for _, a, _ in page.all if "src" in a)
    assert all(a["href"].startswith("#") for _, a, _ in page.all if "href" in a)
    assert len(html) < 4_000_000


def test_links_have_targets(page: Elements) -> None:
    ids = [a["id"] for _, a, _ in page.all if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for _, a, _ in page.all if "href" in a} <= set(ids)


def test_images_and_plots_have_descriptions(page: Elements) -> None:
    images = page.find("img")
    assert len(images) > 4 * 12
    assert all(a["alt"].startswith("Image coco/") for a, _ in images)
    plots = page.find("svg", role="img")
    assert plots
    assert all(a.get("aria-label") for a, _ in plots)


def test_text_of_the_data_is_escaped(html: str, page: Elements) -> None:
    assert "<script>alert" not in html
    assert "<b>it" not in html
    shown = [text for _, text in page.find("p", **{"class": "text"})]
    assert sum(TEXT["answers"] in text for text in shown) == 3 * 4
    assert sum(TEXT["retrieval"] in text for text in shown) == 2 * 4


def test_every_task_has_two_right_and_two_wrong_examples(html: str) -> None:
    for name in datasets.paper_task_names():
        title = datasets.load_dataset(name).TASK.title
        group = html.split(f'aria-label="Examples of {title}"')[1].split('aria-label="Examples of')[0]
        assert (group.count("✓ right</p>"), group.count("✗ wrong</p>")) == (2, 2), name


def test_boxes_are_drawn_at_their_coordinates(html: str) -> None:
    group = html.split('aria-label="Examples of RefCOCO"')[1].split('aria-label="Examples of')[0]
    drawn = {
        role: set(re.findall(rf'x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" class="{role}"', group))
        for role in ("truth", "model")
    }
    left, right = ("10.0", "20.0", "50.0", "60.0"), ("70.0", "20.0", "50.0", "70.0")
    assert drawn == {"truth": {left}, "model": {left, right}}


def test_dialogues_are_split_into_turns(page: Elements) -> None:
    assert len([text for _, text in page.find("dl", **{"class": "turns"}) if "start" not in text]) == 4


def test_a_wrong_retrieval_shows_the_true_image_too(html: str) -> None:
    group = html.split('aria-label="Examples of COCO retrieval"')[1].split('aria-label="Examples of')[0]
    assert group.count('class="image true"') == 4
    assert group.count("<dd>rank 1</dd>") == 2
    assert group.count("the true image <") == 2


@pytest.mark.parametrize(
    ("text_only", "beats_baselines"), [(55.0, True), (55.01, True), (56.0, False), (60.0, False)], ids=str
)
def test_a_task_is_marked_unless_its_interval_lies_above_all_baselines(
    run: Path, text_only: float, beats_baselines: bool
) -> None:
    baselines = read_scores(run / "blind.json", Baselines)
    changed = msgspec.structs.replace(baselines.tasks["gqa"], text_only=text_only)
    write_scores(run / "blind.json", Baselines(baselines.tasks | {"gqa": changed}, 2.0))
    summary = report(run)
    html = (run / "report.html").read_text(encoding="utf-8")
    assert summary.unclear == (() if beats_baselines else ("gqa",))
    assert ("not above baselines" in cells(html, "gqa")["name"]) is not beats_baselines
    assert html.count("not above baselines") == (not beats_baselines)
    assert atomic_files.read_json(run / "report.json")["tasks"]["gqa"]["above_every_blind"] is beats_baselines


def remove(*names: str) -> Callable[[Path], None]:
    def work(run: Path) -> None:
        for name in names:
            path = run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return work


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (remove("blind.json"), "The baselines have not been scored: run twelvefold baselines."),
        (remove("events.jsonl"), "has no event log of training"),
        (remove("prepared"), "There is no prepared data, so no examples can be shown."),
        (remove("world"), "has no images, so the examples are shown without them."),
        (remove(f"{IMAGES}/COCO_train2014_000000000001.jpg"), "The image coco/1 is not in the data folder."),
        (remove("predictions/gqa.jsonl"), "The run has no predictions of this task."),
        (remove("recipe.toml"), "has no recipe.toml"),
        (remove_reliability, "Confidence was not measured when this run was evaluated."),
        (
            remove("stages.json", "blind.json", "events.jsonl", "prepared", "world", "recipe.toml"),
            "12 tasks, one model",
        ),
        (
            lambda run: (run / f"{IMAGES}/COCO_train2014_000000000002.jpg").write_bytes(b"no image"),
            "The image coco/2 can't be read",
        ),
    ],
    ids=[
        "blind",
        "events",
        "prepared",
        "world",
        "image",
        "predictions",
        "recipe",
        "confidence",
        "everything",
        "torn",
    ],
)
def test_missing_parts_are_named_and_the_rest_is_shown(run: Path, damage: Callable[[Path], Any], sentence: str) -> None:
    damage(run)
    report(run)
    html = (run / "report.html").read_text(encoding="utf-8")
    text = " ".join("".join(t) for name, _, t in Elements(html).all if name == "body").split()
    assert sentence in " ".join(text)
    assert cells(html, "gqa")["Score"] == "61.0"


def test_without_scores_the_error_names_the_command(run: Path) -> None:
    (run / "scores.json").unlink()
    with pytest.raises(TwelvefoldError, match="twelvefold evaluate"):
        report(run)


def test_predictions_of_other_data_are_refused(run: Path) -> None:
    path = run / "predictions" / "nlvr2.jsonl"
    write_predictions(path, [msgspec.structs.replace(r, id=f"x{r.id}") for r in read_predictions(path)])
    with pytest.raises(TwelvefoldError, match=r"nlvr2\.jsonl has example 'xe\d', .* other\s+prepared data"):
        report(run)


def test_a_second_report_has_the_same_bytes(run: Path) -> None:
    before = [(run / name).read_bytes() for name in ("report.html", "report.json")]
    report(run)
    assert [(run / name).read_bytes() for name in ("report.html", "report.json")] == before


def test_folders_outside_the_run_are_used(run: Path, tmp_path: Path) -> None:
    before = (run / "report.html").read_bytes()
    (run / "prepared").rename(tmp_path / "p")
    (run / "world").rename(tmp_path / "w")
    report(run, prepared=tmp_path / "p", images=tmp_path / "w")
    assert (run / "report.html").read_bytes() == before


def test_damaged_weights_are_an_error_that_names_the_file(run: Path) -> None:
    weights = run / "checkpoints/latest/model.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(b"\xff" * 100)
    with pytest.raises(TwelvefoldError, match=r"model\.safetensors: can't be read as safetensors"):
        report(run)
