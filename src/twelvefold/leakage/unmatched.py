"""Find lists whose ids match nothing: "no leak" is no result if a list's ids are written unlike all others."""

from __future__ import annotations

import re
from collections.abc import Collection as Container
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twelvefold.leakage.overlap import Collection
from twelvefold.schema import ImageKey, SameImageLink

NUM_EXAMPLES = 2
"""Ids named with each finding."""

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class ListedIds:
    """A list of a custom set whose images are known by their ids only. ``keys``: its images."""

    path: Path
    collection: str
    keys: list[ImageKey] = field(default_factory=list)


def unmatched_lists(
    lists: Sequence[ListedIds],
    collections: Iterable[Collection],
    links: Iterable[SameImageLink],
    files: Container[ImageKey],
) -> list[str]:
    """Return a sentence for each list whose ids cannot match, or are no images of their source as far as is known.

    Ids that no other list has are no finding by themselves: two sets that share no image are what an audit hopes for.

    Args:
        lists: The lists of custom sets.
        collections: All collections, with those of the lists.
        links: Links between keys.
        files: Keys of the image files.
    """
    tasks = {key for each in collections if each.kind == "task" for key in each.images()}
    known = {key for link in links for key in (link.first, link.second)}.union(tasks, files)
    sentences = (_find_mismatch(lists[n], [*lists[:n], *lists[n + 1 :]], known) for n in range(len(lists)))
    return [sentence for sentence in sentences if sentence]


def _find_mismatch(id_list: ListedIds, others: Sequence[ListedIds], known: Container[ImageKey]) -> str:
    keys = set(id_list.keys)
    other_keys = [key for each in others for key in each.keys]
    if any(key in known for key in keys) or not keys.isdisjoint(other_keys):
        return ""
    source = id_list.keys[0].source
    name = f"{id_list.path} ({id_list.collection}): none of its {len(keys):,} ids, such as {_examples(keys)},"
    of_source = {key for key in other_keys if key.source == source}
    in_data = {key for key in known if key.source == source}
    if not of_source and not in_data:
        return (
            f"{name} can match: no other set has images of the source {source!r}. Name the source of the ids "
            f"({id_list.collection}@SOURCE), and give the sets that are compared the same"
        )
    if {key.id.lstrip("0") for key in keys} & {key.id.lstrip("0") for key in of_source | in_data}:
        return (
            f"{name} is equal to another, but some differ from {_examples(of_source | in_data)} by leading zeros only"
        )
    forms = {_form(key.id) for key in keys}
    if forms.isdisjoint({_form(key.id) for key in of_source | in_data}):
        return (
            f"{name} is written like the other ids of {source}, such as {_examples(of_source or in_data)}: is it the "
            "right column?"
        )
    if in_data:
        return f"{name} is an image of {source} that the data folder knows, such as {_examples(in_data)}"
    return ""


def _form(id_: str) -> str:
    """Return an id with its numbers and words replaced, so that ids of one kind have one form."""
    return _WORD.sub(lambda match: "9" if match[0].isdecimal() else "w", id_)


def _examples(keys: Iterable[ImageKey]) -> str:
    return " and ".join(repr(id_[:80]) for id_ in sorted(key.id for key in keys)[:NUM_EXAMPLES])
