"""GQA's functional programs, built from descriptions.

A program is a list of operations on the results of earlier ones: ``select: dog (3)``, ``filter color: red``,
``relate: cup,on,s (5)`` (the relation's subject is sought), ``query: color``.

Differs: ``verify rel`` and ``choose rel`` depend on the steps that find both objects; GQA gives the id of the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twelvefold.world.text.annotations import Operation
from twelvefold.world.text.description import ObjectDescription
from twelvefold.world.text.scene_graph import SceneGraph

GQA_RELATIONS: Final = {"left of": "to the left of", "right of": "to the right of"}
"""Relations that GQA names otherwise."""
ANY_OBJECT: Final = "_"


class Program:
    """A program under construction. The methods return the index of the last step that they add."""

    def __init__(self, graph: SceneGraph) -> None:
        self.graph = graph
        self.steps: list[Operation] = []

    def add(self, operation: str, argument: str, *dependencies: int) -> int:
        """Add one step."""
        self.steps.append(Operation(operation, argument, dependencies))
        return len(self.steps) - 1

    def find(self, description: ObjectDescription) -> int:
        """Add the steps that find the objects of a description without position and order."""
        name = description.category or description.hypernym or ANY_OBJECT
        ids = ",".join(map(str, self.graph.possible_matches(description))) or "-"
        if description.relation is not None:
            relation, other = description.relation
            step = self.add("relate", f"{name},{gqa_relation(relation)},s ({ids})", self.find(other))
        else:
            step = self.add("select", f"{name} ({ids})")
        for attribute, value in description.attributes(("size", "pattern", "color")).items():
            step = self.add(f"filter {attribute}", value, step)
        return step


def gqa_relation(name: str) -> str:
    """Return GQA's name of a relation."""
    return GQA_RELATIONS.get(name, name)


def format_program(steps: Sequence[Operation]) -> str:
    """Return ``semanticStr``: ``select: dog (3)->query: color [0]``."""
    return "->".join(
        f"{s.operation}: {s.argument}" + (f" [{', '.join(map(str, s.dependencies))}]" if s.dependencies else "")
        for s in steps
    )
