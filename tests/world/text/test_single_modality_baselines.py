"""Neither the words nor the image alone reveal a label, answers are spread evenly, and the language is varied.

The classifier is naive Bayes over words and pairs of words, trained on three quarters of the images and tested on the
rest. Its margin over chance is four standard errors. For images, it reads everything that they show as words.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from twelvefold.world.scene import Scene, make_scene
from twelvefold.world.text.annotators import sample_answers
from twelvefold.world.text.captions import generate_captions
from twelvefold.world.text.gqa.questions import generate_gqa_questions
from twelvefold.world.text.guesswhat import generate_dialogues
from twelvefold.world.text.lexicon import add_article, pluralize, tokenize
from twelvefold.world.text.refer import generate_references
from twelvefold.world.text.snli_ve import LABELS, generate_hypotheses
from twelvefold.world.text.vgqa import generate_vg_questions
from twelvefold.world.text.visual7w_questions import generate_pointing_questions
from twelvefold.world.text.vqa import generate_vqa_questions, question_type

Row = tuple[str, str, str]
"""Text, label, template."""


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(72, index) for index in range(300)]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def _features(text: str) -> set[str]:
    words = ("^", *tokenize(text))
    return {*words, *(f"{a} {b}" for a, b in pairwise(words))}


def text_only_accuracy(train: Sequence[Row], test: Sequence[Row]) -> float:
    """Return the accuracy of naive Bayes with add-one smoothing."""
    totals = Counter(label for _, label, _ in train)
    counts: dict[str, Counter[str]] = {label: Counter() for label in totals}
    for text, label, _ in train:
        counts[label].update(_features(text))

    def guess(text: str) -> str:
        def log_probability(label: str) -> float:
            terms = (np.log((counts[label][f] + 1) / (totals[label] + 2)) for f in _features(text))
            return float(np.log(totals[label]) + sum(terms))

        return max(sorted(totals), key=log_probability)

    return sum(guess(text) == label for text, label, _ in test) / len(test)


def _assert_chance(rows: list[list[Row]], min_templates: int) -> None:
    """Assert that the two- and three-way labels of every template are predicted at chance. ``rows`` per image."""
    cut = 3 * len(rows) // 4
    by_template: dict[str, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for index, image_rows in enumerate(rows):
        for row in image_rows:
            by_template[row[2]][index >= cut].append(row)
    num_templates = 0
    for template, (train, test) in by_template.items():
        labels = {label for _, label, _ in train}
        if len(test) < 40 or not (labels == {"yes", "no"} or labels == set(LABELS)):
            continue
        chance = 1 / len(labels)
        margin = 4 * (chance * (1 - chance) / len(test)) ** 0.5
        assert text_only_accuracy(train, test) < chance + margin, template
        num_templates += 1
    assert num_templates >= min_templates


def test_the_classifier_finds_a_leak() -> None:
    leaky = [[(f"is it {'red' if i % 2 else 'blue'}", "yes" if i % 2 else "no", "leaky")] for i in range(400)]
    with pytest.raises(AssertionError, match="leaky"):
        _assert_chance(leaky, 1)


def test_entailment_is_not_predictable_from_the_hypothesis(scenes: list[Scene], rng: np.random.Generator) -> None:
    rows: list[list[Row]] = []
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for scene in scenes:
        premises = generate_captions(scene, rng, 1, "flickr")
        found = generate_hypotheses(scene, premises, rng, 6)
        rows.append([(h.sentence, h.label, h.template) for h in found])
        for h in found:
            counts[h.template][h.label] += 1
            assert h.premise == 0
            assert Counter(h.annotator_labels).most_common(1)[0][0] == h.label
    _assert_chance(rows, 5)
    for template, labels in counts.items():
        assert max(labels.values()) < 1.5 * min(labels[label] for label in LABELS), template


def test_vqa_yes_and_no_are_not_predictable_from_the_question(scenes: list[Scene], rng: np.random.Generator) -> None:
    questions_by_image = [[q for _ in range(3) for q in generate_vqa_questions(s, rng, 8)] for s in scenes]
    _assert_chance(
        [[(q.question, q.multiple_choice_answer, q.template) for q in questions] for questions in questions_by_image], 5
    )


def test_gqa_yes_and_no_are_not_predictable_from_the_question(scenes: list[Scene], rng: np.random.Generator) -> None:
    questions_by_image = [
        [q for _ in range(3) for q in generate_gqa_questions(s, rng, 5) if q.is_balanced] for s in scenes
    ]
    _assert_chance([[(q.question, q.answer, q.types[2]) for q in questions] for questions in questions_by_image], 5)


def _describe_image(scene: Scene) -> str:
    """Return everything that an image shows as pairs of words: the attributes of the objects and their numbers."""
    objects = [
        f"{t.category} {t.color} {t.category} {t.size} {t.category} {t.pattern} {t.relation and t.relation[0]}"
        for t in scene.objects
    ]
    counts = [f"{category}s {n}" for category, n in Counter(t.category for t in scene.objects).items()]
    return " . ".join([scene.background, f"objects {len(scene.objects)}", *objects, *counts])


@pytest.mark.slow
def test_yes_no_and_entailment_are_not_predictable_from_the_image(
    scenes: list[Scene], rng: np.random.Generator
) -> None:
    entailed = [
        [h for _ in range(2) for h in generate_hypotheses(s, generate_captions(s, rng, 1, "flickr"), rng, 6)]
        for s in scenes
    ]
    questions_by_image = [[q for _ in range(3) for q in generate_vqa_questions(s, rng, 8)] for s in scenes]
    steps = [[q for _ in range(3) for q in generate_gqa_questions(s, rng, 5) if q.is_balanced] for s in scenes]
    _assert_chance(
        [[(_describe_image(s), h.label, h.template) for h in own] for s, own in zip(scenes, entailed, strict=True)], 5
    )
    _assert_chance(
        [
            [(_describe_image(s), q.multiple_choice_answer, q.template) for q in own]
            for s, own in zip(scenes, questions_by_image, strict=True)
        ],
        5,
    )
    _assert_chance(
        [[(_describe_image(s), q.answer, q.types[2]) for q in own] for s, own in zip(scenes, steps, strict=True)], 5
    )


def test_the_correct_answer_is_the_most_frequent_of_ten(scenes: list[Scene], rng: np.random.Generator) -> None:
    unanimous = num_correct = total = 0
    for scene in scenes[:100]:
        for question in generate_vqa_questions(scene, rng, 5):
            answers = [answer for answer, _ in question.answers]
            assert len(answers) == 10
            assert {confidence for _, confidence in question.answers} <= {"yes", "maybe", "no"}
            assert question.multiple_choice_answer == Counter(answers).most_common(1)[0][0]
            assert question.question.lower().startswith(question.question_type) or (
                question.question_type == "none of the above"
            )
            assert re.fullmatch(r"[A-Z].*\?", question.question)
            unanimous += len(set(answers)) == 1
            num_correct += answers.count(question.multiple_choice_answer)
            total += 1
    assert 0.15 < unanimous / total < 0.6
    assert 7 < num_correct / total < 9.5


@pytest.mark.parametrize("truth", ["yes", "0", "3", "gray", "ice cream", "night", "dotted", "medium", "left", "winter"])
def test_every_type_of_answer_has_ten_answers(truth: str, rng: np.random.Generator) -> None:
    for _ in range(30):
        answers = sample_answers(truth, rng)
        assert len(answers) == 10
        assert Counter(answer for answer, _ in answers).most_common(1)[0][0] == truth


def test_answers_are_balanced(scenes: list[Scene], rng: np.random.Generator) -> None:
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for scene in scenes:
        for question in generate_vqa_questions(scene, rng, 8):
            answers[question.template][question.multiple_choice_answer] += 1
    assert len(answers["color"]) == 11
    assert max(answers["color"].values()) < 0.18 * answers["color"].total()
    assert set(answers["count category"]) == {"0", "1", "2", "3"}
    assert max(answers["count category"].values()) < 0.5 * answers["count category"].total()
    categories = answers["category"].total() + answers["neighbor"].total()
    assert 0.05 < categories / sum(counts.total() for counts in answers.values()) < 0.25


def test_question_types_are_the_first_words() -> None:
    assert question_type("What color is the dog?") == "what color is the"
    assert question_type("How many dogs are there?") == "how many"
    assert question_type("Would you say so?") == "none of the above"


def test_the_language_is_varied(scenes: list[Scene], rng: np.random.Generator) -> None:
    texts: list[str] = []
    openings: set[str] = set()
    for scene in scenes:
        for question in generate_vg_questions(scene, rng, 3):
            texts += [question.question, question.answer]
            openings.add(tokenize(question.question)[0])
            assert re.fullmatch(r"[A-Z].*\.", question.answer)
        texts += [q.question for q in generate_vqa_questions(scene, rng, 3)]
        texts += [c for style in ("coco", "flickr") for c in generate_captions(scene, rng, 2, style)]
        texts += [e.raw for r in generate_references(scene, rng, 2, "refcocog") for e in r.expressions]
        texts += [turn.question for game in generate_dialogues(scene, rng, 1) for turn in game.turns]
        texts += [question.question for question in generate_pointing_questions(scene, rng, 1)]
    assert {"what", "where", "when", "who", "why", "how"} <= openings
    assert len({word for text in texts for word in tokenize(text)}) > 400


def test_captions_differ_from_each_other_and_from_other_images(scenes: list[Scene], rng: np.random.Generator) -> None:
    captions = [set(generate_captions(scene, rng, 5, "coco")) for scene in scenes]
    assert all(len(five) == 5 for five in captions)
    counts = Counter(raw for five in captions for raw in five)
    assert sum(n for n in counts.values() if n > 1) < 0.05 * counts.total()
    lengths = [len(tokenize(raw)) for raw in counts]
    assert np.std(lengths) > 3
    assert 8 < np.mean(lengths) < 18


def test_texts_depend_on_the_scene_and_the_generator_only(scenes: list[Scene]) -> None:
    for make in (
        generate_vqa_questions,
        generate_gqa_questions,
        generate_vg_questions,
        generate_references,
        generate_dialogues,
        generate_pointing_questions,
        generate_captions,
    ):
        first, again = (make(scenes[3], np.random.default_rng(8)) for _ in range(2))
        assert first == again
        assert first != make(scenes[3], np.random.default_rng(9))


def test_plurals_and_articles() -> None:
    assert [pluralize(w) for w in ("pony", "coach", "slice of pizza", "key")] == [
        "ponies",
        "coaches",
        "slices of pizza",
        "keys",
    ]
    assert add_article("orange cup") == "an orange cup"
    assert add_article("unicycle") == "a unicycle"
