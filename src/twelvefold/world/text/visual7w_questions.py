"""Visual7W pointing questions: "Which ...?" with four boxes to choose from. Paper: section 2.1, G3.

The choices are objects of the scene: the correct one and three others, mostly with the same category or color. The
correct one is in each slot equally often, and the question matches it only.
"""

from __future__ import annotations

from typing import Final

from numpy.random import Generator

from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import PointingQuestion
from twelvefold.world.text.description import ATTRIBUTES, ObjectDescription
from twelvefold.world.text.lexicon import ABILITIES, to_sentence
from twelvefold.world.text.question_templates import hypernyms_of
from twelvefold.world.text.realize import realize, realize_attribute, realize_noun
from twelvefold.world.text.sampling import bernoulli, choice, collect_distinct, fill, shuffled
from twelvefold.world.text.scene_graph import SceneGraph

NUM_CHOICES: Final = 4


def generate_pointing_questions(scene: Scene, rng: Generator, count: int = 2) -> tuple[PointingQuestion, ...]:
    """Return at most ``count`` different questions, none for a scene with fewer than four objects."""
    graph = SceneGraph(scene)
    if graph.num_objects < NUM_CHOICES:
        return ()
    return collect_distinct(lambda: _sample(graph, rng), lambda record: record.question, count, 4 * count)


def _sample(graph: SceneGraph, rng: Generator) -> PointingQuestion | None:
    target = choice(rng, range(graph.num_objects))
    choices = shuffled(rng, [target, *_sample_distractors(graph, target, rng)])
    template = choice(rng, TEMPLATES)
    description = _describe(template, graph, target, choices, rng)
    if description is None or graph.matching_objects(description, choices) != (target,):
        return None
    return PointingQuestion(to_sentence(_word(description, rng), "?"), tuple(choices), choices.index(target))


def _sample_distractors(graph: SceneGraph, target: int, rng: Generator) -> list[int]:
    """Return three other objects, mostly with the same category or color as the target."""
    obj = graph.objects[target]
    similarity = [(o.category == obj.category) + (o.color == obj.color) + rng.random() * 1.5 for o in graph.objects]
    others = [i for i in range(graph.num_objects) if i != target]
    return sorted(others, key=similarity.__getitem__, reverse=True)[: NUM_CHOICES - 1]


TEMPLATES: Final = ("category", "attribute", "position", "relation", "ability", "hypernym")
_EXCLUDED: Final[dict[str, tuple[str, ...]]] = {"category": (), "attribute": ("category",)}
"""Fields that a description must not use. Positions and relations are used without category and attributes."""


def _describe(
    template: str, graph: SceneGraph, target: int, choices: list[int], rng: Generator
) -> ObjectDescription | None:
    if template == "ability":
        abilities = [a.name for a in ABILITIES.values() if graph.objects[target].category in a.members]
        return ObjectDescription(ability=choice(rng, abilities)) if abilities else None
    if template == "hypernym":
        hypernyms = hypernyms_of(graph, target)
        return ObjectDescription(hypernym=hypernyms[0]) if hypernyms else None
    return graph.describe_uniquely(
        target,
        rng,
        exclude=_EXCLUDED.get(template, ("category", *ATTRIBUTES)),
        use_position=template == "position",
        use_relation=template == "relation",
        candidates=choices,
    )


def _word(description: ObjectDescription, rng: Generator) -> str:
    """Return ``which cup is striped``, ``which one is the red cup``, ``which object is something that can fly``."""
    whole = realize(description, rng)
    if description.ability:
        phrase = fill(rng, ABILITIES[description.ability].phrases)
        noun = realize_noun(ObjectDescription(), rng)
        is_verb = not phrase.startswith(("you", "people", "a "))
        short = f"which of these {phrase}" if is_verb else f"which is {whole}"
        return choice(rng, (f"which {noun} is something that {phrase}", short))
    questions = [f"which is {whole}", f"which one is {whole}", f"which box shows {whole}", f"which of these is {whole}"]
    attributes = description.attributes()
    values = [realize_attribute(name, value, rng) for name, value in attributes.items()]
    if len(values) == 1 and description == ObjectDescription(category=description.category).with_attributes(attributes):
        noun = realize_noun(ObjectDescription(category=description.category), rng)
        questions += [f"which {noun} is {values[0]}", f"which {noun} looks {values[0]}"] * 2
    if description.relation is not None or description.position:
        bare = realize(description, rng, "")
        clause = f"which {bare.replace(' that is ', ' is ', 1)}" if " that is " in bare else f"which is {whole}"
        questions += [clause] * 2
    if bernoulli(rng, 0.2):
        return fill(rng, "can you point out which is {a} | which can be called {a}", a=whole)
    return choice(rng, questions)
