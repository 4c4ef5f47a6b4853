"""Every task asked on the page as a person would, of pictures that ship, against what their files say is right."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from twelvefold import boxes

Open = Callable[..., Page]
Shot = Callable[..., Path]
Samples = dict[str, dict[str, Any]]

MOST = 2 / 3
"""How many of a few questions must be right: the shipped model's worst task is right three times in four."""


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def take(page: Page, *names: str) -> None:
    """Have these samples in the tray, the last one shown."""
    for name in names:
        there = page.get_by_role("button", name=re.compile(rf"^{name}\.jpg"))
        (there if there.count() else page.get_by_role("button", name=f"Sample {name}")).first.click()
        expect(page.locator(".tile.chosen .pick")).to_have_attribute("aria-label", re.compile(rf"^{name}\.jpg, shown"))


def ask(page: Page, text: str) -> None:
    """Type a text, press Enter, and wait for what comes."""
    page.locator("#text").fill(text)
    page.locator("#text").press("Enter")
    page.locator(".timing").wait_for()


def asked(samples: Samples, name: str, task: str) -> list[dict[str, Any]]:
    return [one for one in samples[name]["suggestions"] if one["task"] == task]


def best(page: Page) -> str:
    """The answer on top, as it is shown."""
    return page.locator(".answer.best .name").first.inner_text()


def drawn(page: Page, sample: dict[str, Any], look: str = ".mark.best") -> list[float]:
    """Where on the picture a box is drawn, in its pixels, measured on the screen."""
    frame, mark = page.locator(".frame").bounding_box(), page.locator(look).first.bounding_box()
    assert frame is not None
    assert mark is not None
    x, y = sample["width"] / frame["width"], sample["height"] / frame["height"]
    left, top = (mark["x"] - frame["x"]) * x, (mark["y"] - frame["y"]) * y
    return [left, top, left + mark["width"] * x, top + mark["height"] * y]


def hits(box: Sequence[float], meant: Sequence[float]) -> bool:
    return bool(boxes.is_hit(boxes.iou([box], [meant]))[0, 0])


def verdict(page: Page, right: bool) -> None:
    """The page says itself whether the sample's files agree."""
    expect(page.locator(".truth")).to_have_class(f"truth {'right' if right else 'wrong'}")


@pytest.mark.parametrize(
    ("name", "head", "task"), [("Question", "VQAv2", "vqav2"), ("Question", "VG QA", "vgqa"), ("Reasoning", "", "gqa")]
)
def test_a_question_is_answered(open_page: Open, shot: Shot, samples: Samples, name: str, head: str, task: str) -> None:
    page, right = open_page(), []
    tab(page, name)
    if head:
        page.get_by_label("In the manner of").select_option(head)
    take(page, "meadow")
    for one in asked(samples, "meadow", task):
        ask(page, one["text"])
        right.append(best(page) == one["answer"])
        verdict(page, right[-1])
        shares = [float(text.removesuffix(" %")) for text in page.locator(".answer .share").all_inner_texts()]
        assert len(shares) == 5
        assert shares == sorted(shares, reverse=True)
    assert len(right) == 3
    assert sum(right) >= MOST * len(right)
    shot(page)


@pytest.mark.parametrize("task", ["refcoco", "refcoco+", "refcocog"])
def test_an_expression_is_pointed_at(open_page: Open, shot: Shot, samples: Samples, task: str) -> None:
    page, right = open_page(), []
    tab(page, "Point at")
    page.get_by_label("In the manner of").select_option(task)
    take(page, "room")
    for one in asked(samples, "room", task):
        ask(page, one["text"])
        right.append(hits(drawn(page, samples["room"]), one["box_px"]))
        verdict(page, right[-1])
    assert len(right) == 3
    assert sum(right) >= MOST * len(right)
    shot(page)


def test_answers_and_boxes_light_up_together(open_page: Open) -> None:
    page = open_page()
    tab(page, "Point at")
    ask(page, "rightmost car")
    second = page.locator(".answer").nth(1)
    second.hover()
    expect(page.locator(".mark.hot")).to_have_attribute("data-mark", "1")
    page.locator('.mark[data-mark="0"]').hover()
    expect(page.locator(".answer.hot .name")).to_have_text(best(page))
    second.locator("button").focus()
    expect(page.locator(".mark.hot")).to_have_attribute("data-mark", "1")


def test_a_which_question_is_answered_by_one_of_the_boxes_given(open_page: Open, shot: Shot, samples: Samples) -> None:
    page, right = open_page(), []
    tab(page, "Which one?")
    for sample in ("paper", "room"):
        take(page, sample)
        for one in asked(samples, sample, "visual7w"):
            page.locator(".chip", has_text=one["text"]).click()
            page.locator(".timing").wait_for()
            expect(page.locator(".answer")).to_have_count(len(one["boxes_px"]))
            right.append(hits(drawn(page, samples[sample]), one["box_px"]))
            verdict(page, right[-1])
            page.locator("#text").fill("")  # the answer stays until something else is asked
    assert len(right) == 6
    assert sum(right) >= MOST * len(right)
    shot(page)


def test_boxes_to_choose_from_are_drawn_with_the_mouse_or_typed(open_page: Open, shot: Shot, samples: Samples) -> None:
    page = open_page()
    tab(page, "Which one?")
    meant = asked(samples, "paper", "refcoco")[0]["box_px"]
    page.get_by_label("my own boxes").check()
    ask_early = page.locator("#text")
    ask_early.fill("Which one is the car?")
    ask_early.press("Enter")
    expect(page.locator("#error")).to_contain_text("at least two boxes")
    frame = page.locator(".frame").bounding_box()
    assert frame is not None
    scale = frame["width"] / samples["paper"]["width"]
    page.mouse.move(frame["x"] + meant[0] * scale, frame["y"] + meant[1] * scale)
    page.mouse.down()
    page.mouse.move(frame["x"] + meant[2] * scale, frame["y"] + meant[3] * scale, steps=3)
    page.mouse.up()
    corners = page.get_by_label("Or type its corners")
    corners.fill("200, 130, 190, 160")
    corners.press("Enter")
    expect(page.locator("#corners-error")).to_contain_text("Right must be more than left")
    corners.fill("100, 200, 140, 242")
    corners.press("Enter")
    expect(page.locator(".own .chips li")).to_have_count(2)
    assert hits(drawn(page, samples["paper"], ".mark.given >> nth=0"), meant)
    ask(page, "Which one is the car?")
    assert best(page) == "Box A: car"
    assert hits(drawn(page, samples["paper"]), meant)
    shot(page)


def test_a_dialogue_narrows_down_to_the_thing_meant(open_page: Open, shot: Shot, samples: Samples) -> None:
    page, right = open_page(), []
    tab(page, "Dialogue")
    for game in asked(samples, "paper", "guesswhat"):
        for turn, (question, answer) in enumerate(game["dialogue"], 1):
            page.get_by_role("radio", name=answer.lower(), exact=True).check()
            ask(page, question)
            expect(page.locator(".dialogue li")).to_have_count(turn)
        expect(page.locator(".replied").last).to_contain_text(game["dialogue"][-1][1])
        right.append(hits(drawn(page, samples["paper"]), game["box_px"]))
        shot(page)
        page.get_by_role("button", name="Start over").click()
        expect(page.locator(".dialogue")).to_have_count(0)
    assert len(right) == 3
    assert sum(right) >= MOST * len(right)


def test_every_phrase_of_a_caption_gets_a_box(open_page: Open, shot: Shot, samples: Samples) -> None:
    page = open_page()
    tab(page, "Phrases")
    one, other = asked(samples, "paper", "refcoco")[:2]
    page.locator("#text").fill("there is no phrase here")
    page.locator("#text").press("Enter")
    expect(page.locator("#error")).to_contain_text("square brackets")
    ask(page, f"[{one['text']}] is not [{other['text']}]")
    for phrase in (one, other):
        label = page.locator(".mark", has_text=phrase["text"])
        assert hits(
            drawn(page, samples["paper"], f'.mark[data-mark="{label.get_attribute("data-mark")}"]'), phrase["box_px"]
        )
    assert page.locator(".answer .name").all_inner_texts() == [one["text"], other["text"]]
    shot(page)


def test_a_statement_is_judged_of_one_picture(open_page: Open, shot: Shot, samples: Samples) -> None:
    page, right = open_page(), []
    tab(page, "Entailment")
    for sample in ("night", "snow"):
        take(page, sample)
        for one in asked(samples, sample, "snli_ve"):
            ask(page, one["text"])
            right.append(best(page).lower().startswith(one["answer"]))
            verdict(page, right[-1])
    assert len(right) == 6
    assert sum(right) >= MOST * len(right)
    shot(page)


def test_a_statement_is_judged_of_two_pictures_side_by_side(open_page: Open, shot: Shot, samples: Samples) -> None:
    page, right = open_page(), []
    take(page, "right", "left")
    tab(page, "Two pictures")
    for one in asked(samples, "left", "nlvr2"):
        page.locator(".chip", has_text=one["text"]).click()
        page.locator(".timing").wait_for()
        right.append(best(page) == one["answer"])
        verdict(page, right[-1])
    names = [page.locator(".slot img").nth(side).get_attribute("alt") for side in (0, 1)]
    assert names == ["left.jpg", "right.jpg"]
    assert sum(right) >= MOST * len(right)
    shot(page)
    page.get_by_role("button", name="Swap left and right").click()
    expect(page.locator(".slot img").first).to_have_attribute("alt", "right.jpg")
    expect(page.locator(".answer")).to_have_count(0)


def test_pictures_are_found_by_their_captions(open_page: Open, shot: Shot, samples: Samples) -> None:
    page, right = open_page(), []
    tab(page, "Find by caption")
    page.get_by_role("button", name="Take all").click()
    expect(page.locator(".tile.ready")).to_have_count(len(samples))
    for sample in ("paper", "room", "meadow", "carpet", "beach"):
        ask(page, asked(samples, sample, "coco")[0]["text"])
        right.append(page.locator(".gallery .best img").get_attribute("alt") == f"{sample}.jpg")
        verdict(page, right[-1])
        shares = [float(text.split()[1]) for text in page.locator(".gallery p").all_inner_texts()]
        assert len(shares) == len(samples)
        assert shares == sorted(shares, reverse=True)
    assert sum(right) >= MOST * len(right)
    shot(page)


def test_one_picture_is_asked_several_things_at_once(open_page: Open, shot: Shot) -> None:
    page = open_page()
    tab(page, "Several at once")
    page.get_by_role("button", name="Fill with").click()
    page.get_by_label("Entailment").fill("There is a red hammer.")
    page.get_by_role("button", name="Ask all").click()
    expect(page.locator(".several-row .came strong")).to_have_count(5)
    assert page.locator(".mark").all_inner_texts() == ["Point at", "Which one?"]
    expect(page.locator(".history li")).to_have_count(5)
    shot(page)


def test_where_it_looked_is_shown_by_layer_head_word_and_region(
    open_page: Open, shot: Shot, readable: Callable[[Page], list[str]]
) -> None:
    page = open_page()
    page.get_by_label("Show where it looks").check()
    with page.expect_response("**/v1/ask") as answered:
        ask(page, "How many rabbits do you count?")
    [attention] = answered.value.json()["attention"]
    assert page.locator(".words button").count() == len(attention["words"])
    assert page.locator(".glow").count() == len(attention["boxes_px"]) - 1  # the first is the whole picture
    shown = page.locator(".glow")

    def weights() -> list[float]:
        return [
            float(shown.nth(i).evaluate("glow => glow.style.getPropertyValue('--weight')"))
            for i in range(shown.count())
        ]

    def most(shares: Any) -> list[float]:
        return list(shares[1:] / shares[1:].max())

    last, first = (np.array(attention["blocks"][i]["to_regions"]) for i in (-1, 0))
    assert weights() == pytest.approx(most(last.mean(axis=(0, 1))), abs=1e-4)
    word = attention["words"].index("rabbits")
    page.locator(".words button").nth(word).click()
    assert weights() == pytest.approx(most(last.mean(axis=0)[word]), abs=1e-4)
    page.get_by_label("Layer").press("Home")
    page.get_by_label("Head").press("ArrowRight")
    expect(page.get_by_label("Head")).to_have_attribute("aria-valuetext", re.compile("^1 of"))
    assert weights() == pytest.approx(most(first[0][word]), abs=1e-4)
    page.get_by_label("looked at by").select_option("region 2")
    expect(page.locator(".glow.chosen")).to_have_count(1)
    told = np.array(attention["blocks"][0]["to_words"])[0][2]
    bars = page.locator(".words .share").evaluate_all("bars => bars.map(bar => parseFloat(bar.style.width))")
    assert bars == pytest.approx(list(100 * told / told.max()), abs=0.1)
    assert readable(page) == []
    shot(page)
    page.get_by_label("Where it looked, over the picture").uncheck()
    expect(page.locator(".glow")).to_have_count(0)


def test_the_history_brings_back_picture_words_and_answer(open_page: Open, shot: Shot) -> None:
    page = open_page()
    ask(page, "How many cars are there?")
    said = best(page)
    take(page, "room")
    tab(page, "Point at")
    ask(page, "the boot")
    page.locator(".history button", has_text="How many cars").click()
    expect(page.get_by_role("tab", selected=True)).to_have_text("Question")
    expect(page.locator("#text")).to_have_value("How many cars are there?")
    expect(page.locator(".stage img")).to_have_attribute("alt", "paper.jpg")
    assert best(page) == said
    shot(page)
