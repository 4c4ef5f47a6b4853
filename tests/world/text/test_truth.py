"""Texts are true of their image: expressions, answers, programs, games, pointing questions, statements, captions."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from tests.world.text.gqa_interpreter import ProgramError, run_program

from twelvefold.schema import TwelvefoldError
from twelvefold.world.categories import COLORS, PATTERNS
from twelvefold.world.scene import Scene, make_scene
from twelvefold.world.text.annotations import Operation, ReferStyle
from twelvefold.world.text.captions import generate_captions
from twelvefold.world.text.description import ObjectDescription
from twelvefold.world.text.gqa.questions import generate_gqa_questions
from twelvefold.world.text.guesswhat import MAX_TURNS, answer_question, generate_dialogues
from twelvefold.world.text.image_sets import make_image_set
from twelvefold.world.text.lexicon import CATEGORY_NOUNS, COLOR_WORDS, LOCATION_WORDS, pluralize, tokenize
from twelvefold.world.text.nlvr2 import generate_statements
from twelvefold.world.text.refer import generate_references
from twelvefold.world.text.sampling import alternatives
from twelvefold.world.text.scene_graph import SceneGraph
from twelvefold.world.text.visual7w_questions import generate_pointing_questions


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(71, index) for index in range(120)]


@pytest.fixture(scope="module")
def crowded() -> list[Scene]:
    return [make_scene(71, index, crowded=True) for index in range(10)]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.mark.parametrize("style", ["refcoco", "refcoco+", "refcocog"])
def test_an_expression_matches_its_target_only(
    scenes: list[Scene], rng: np.random.Generator, style: ReferStyle
) -> None:
    lengths = []
    for scene in scenes:
        graph = SceneGraph(scene)
        for reference in generate_references(scene, rng, 2, style):
            for expression in reference.expressions:
                assert graph.matching_objects(expression.facts) == (reference.target,), expression.raw
                lengths.append(len(expression.tokens))
    assert len(lengths) > 250
    assert np.mean(lengths) > 7 if style == "refcocog" else np.mean(lengths) < 4.5


def test_refcoco_plus_has_no_location_words(scenes: list[Scene], rng: np.random.Generator) -> None:
    words = {
        word
        for s in scenes
        for r in generate_references(s, rng, 3, "refcoco+")
        for e in r.expressions
        for word in e.tokens
    }
    assert len(words) > 60
    assert not words & LOCATION_WORDS


def test_refcoco_often_has_location_words(scenes: list[Scene], rng: np.random.Generator) -> None:
    expressions = [e for s in scenes for r in generate_references(s, rng, 2, "refcoco") for e in r.expressions]
    assert 0.25 < sum(bool(set(e.tokens) & LOCATION_WORDS) for e in expressions) / len(expressions) < 0.9


def test_a_description_of_two_objects_matches_both() -> None:
    scene = next(s for s in (make_scene(5, i) for i in range(50)) if len(SceneGraph(s).by_category) < len(s.objects))
    graph = SceneGraph(scene)
    category, indices = next((k, t) for k, t in graph.by_category.items() if len(t) > 1)
    assert graph.matching_objects(ObjectDescription(category=category)) == tuple(indices)
    assert graph.matching_objects(ObjectDescription(category="no such category")) == ()


def test_gqa_programs_give_the_answers(scenes: list[Scene], rng: np.random.Generator) -> None:
    questions = 0
    for scene in scenes:
        graph = SceneGraph(scene)
        family = generate_gqa_questions(scene, rng, 4)
        for index, question in enumerate(family):
            assert run_program(question.semantic, graph) == question.answer, question.question
            assert index in question.equivalent
            assert all(i < len(family) for i in (*question.entailed, *question.equivalent))
        questions += len(family)
    assert questions > 10 * len(scenes)


def test_gqa_programs_contain_the_ids_of_the_objects_that_they_find(
    scenes: list[Scene], rng: np.random.Generator
) -> None:
    num_checked = 0
    for scene in scenes[:40]:
        for question in generate_gqa_questions(scene, rng, 4):
            for step in question.semantic:
                if step.operation in ("select", "relate") and not step.argument.startswith("scene"):
                    ids = step.argument.rpartition("(")[2].rstrip(")")
                    name = step.argument.partition(" (")[0].split(",")[0]
                    categories = {scene.objects[int(i)].category for i in ids.split(",") if i != "-"}
                    assert name not in CATEGORY_NOUNS or categories <= {name}
                    num_checked += name in CATEGORY_NOUNS and bool(categories)
    assert num_checked > 100


def _change(scene: Scene, rng: np.random.Generator) -> Scene:
    """Return the scene with random colors, patterns and categories for some of its objects."""
    objects = list(scene.objects)
    for index, obj in enumerate(objects):
        if rng.random() < 0.3:
            obj = dataclasses.replace(obj, color=list(COLORS)[rng.integers(len(COLORS))])
        if rng.random() < 0.2:
            obj = dataclasses.replace(obj, pattern=PATTERNS[rng.integers(len(PATTERNS))])
        if rng.random() < 0.2:
            obj = dataclasses.replace(obj, category=scene.objects[rng.integers(len(objects))].category)
        objects[index] = obj
    return dataclasses.replace(scene, objects=tuple(objects))


def _answer(program: tuple[Operation, ...], graph: SceneGraph) -> str | None:
    try:
        return run_program(program, graph)
    except ProgramError:
        return None


def test_entailed_answers_hold_in_all_scenes_with_the_same_answer(
    scenes: list[Scene], rng: np.random.Generator
) -> None:
    """Other scenes with the same answer to a question have the same answers to the entailed questions."""
    num_checked = 0
    for scene in scenes:
        family = generate_gqa_questions(scene, rng, 3)
        for _ in range(4):
            graph = SceneGraph(_change(scene, rng))
            answers = [_answer(question.semantic, graph) for question in family]
            for question, answer in zip(family, answers, strict=True):
                for other in question.entailed if answer == question.answer else ():
                    assert answers[other] in (None, family[other].answer), (question, family[other])
                    num_checked += answers[other] is not None
    assert num_checked > 2000


def test_a_program_about_a_missing_object_is_rejected(scenes: list[Scene]) -> None:
    graph = SceneGraph(scenes[0])
    absent = next(category for category in CATEGORY_NOUNS if category not in graph.by_category)
    with pytest.raises(ProgramError, match="expected one object"):
        run_program([Operation("select", f"{absent} (-)", ()), Operation("query", "color", (0,))], graph)
    with pytest.raises(ProgramError, match="no operation"):
        run_program([Operation("imagine", "dog (0)", ())], graph)


def test_players_answer_what_the_scene_states(
    scenes: list[Scene], crowded: list[Scene], rng: np.random.Generator
) -> None:
    statuses: Counter[str] = Counter()
    for scene in [*scenes, *crowded]:
        graph = SceneGraph(scene)
        for game in generate_dialogues(scene, rng, 2):
            remaining = set(range(graph.num_objects))
            for turn in game.turns:
                assert turn.answer == answer_question(graph, turn.facts, game.target), turn.question
                remaining = {i for i in remaining if answer_question(graph, turn.facts, i) == turn.answer}
            assert game.target in remaining
            assert 2 <= len(game.turns) <= MAX_TURNS
            assert game.status == "success" or len(remaining) > 1 or game.status == "incomplete"
            statuses[game.status] += 1
    assert statuses["success"] > 0.75 * statuses.total()
    assert set(statuses) == {"success", "failure", "incomplete"}


def test_pointing_questions_have_the_correct_box_in_any_slot(scenes: list[Scene], rng: np.random.Generator) -> None:
    slots: Counter[int] = Counter()
    for scene in scenes:
        for question in generate_pointing_questions(scene, rng, 3):
            assert len(set(question.choices)) == 4
            assert all(0 <= choice < len(scene.objects) for choice in question.choices)
            slots[question.answer] += 1
    assert min(slots.values()) > 0.17 * slots.total()


def test_pointing_questions_need_four_objects(scenes: list[Scene], rng: np.random.Generator) -> None:
    few = dataclasses.replace(
        scenes[0], objects=tuple(dataclasses.replace(t, relation=None) for t in scenes[0].objects[:3])
    )
    assert generate_pointing_questions(few, rng, 3) == ()


def test_statements_are_true_of_half_their_set_and_mostly_differ_in_variants(rng: np.random.Generator) -> None:
    num_different = total = 0
    for index in range(12):
        pairs = make_image_set(9, index)
        for statement in generate_statements(pairs, rng, 3):
            assert len(statement.labels) == len(pairs) == 4
            assert sum(statement.labels) == 2
            num_different += statement.labels[0] != statement.labels[1]
            total += 1
    assert total == 36
    assert num_different > 0.6 * total


def test_two_pairs_of_a_set_share_one_image_and_have_similar_others() -> None:
    for index in range(4):
        for (left, right), (left_2, right_2) in (make_image_set(2, index)[:2], make_image_set(2, index)[2:]):
            assert (left == left_2) != (right == right_2)
            first, second = (left, left_2) if left != left_2 else (right, right_2)
            assert len(first.objects) == len(second.objects)
            assert first.background == second.background
    assert make_image_set(2, 1) == make_image_set(2, 1)


@pytest.mark.parametrize("bad", [(-1, 0), (0, -1)])
def test_a_negative_seed_or_index_is_named(bad: tuple[int, int]) -> None:
    with pytest.raises(TwelvefoldError, match="at least 0"):
        make_image_set(*bad)


def test_statements_reject_an_odd_number_of_pairs(scenes: list[Scene], rng: np.random.Generator) -> None:
    with pytest.raises(TwelvefoldError, match="even number"):
        generate_statements([(scenes[0], scenes[1])], rng)


def test_captions_mention_only_what_the_image_shows(scenes: list[Scene], rng: np.random.Generator) -> None:
    """No other categories and colors, in both styles."""
    names = {
        noun: category
        for category, nouns in CATEGORY_NOUNS.items()
        for name in nouns
        for noun in (name, pluralize(name))
    }
    color_words = {word: color for color, words in COLOR_WORDS.items() for word in alternatives(words)}
    scenery = {"table", "paper", "carpet", "orange"}
    num_names = num_colors = 0
    for scene in scenes:
        categories = {obj.category for obj in scene.objects}
        colors = {obj.color for obj in scene.objects}
        for style in ("coco", "flickr"):
            for caption in generate_captions(scene, rng, 5, style):
                for word in tokenize(caption):
                    assert word not in names or names[word] in categories or word in scenery, caption
                    color = color_words.get(word, word)
                    assert color not in COLORS or color in colors, caption
                    num_names += word in names
                    num_colors += color in COLORS
    assert min(num_names, num_colors) > 1000
