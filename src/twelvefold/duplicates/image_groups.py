"""Which image keys name one photograph, and why.

The sources overlap: half of Visual Genome's pictures are COCO's, GQA's are Visual Genome's, SNLI-VE's are
Flickr30k's. ``splits.evidence`` gathers what shows it; here joins become photographs. Paper: section 2.2, Table 1.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from twelvefold.schema import ImageKey, SameImageLink


class Identity:
    """The photographs behind keys, from joins in any order. A key in no join is a photograph of its own."""

    def __init__(self, joins: Iterable[SameImageLink] = ()) -> None:
        self._parent: dict[ImageKey, ImageKey] = {}
        self._joins: defaultdict[ImageKey, list[SameImageLink]] = defaultdict(list)
        for join in joins:
            self._joins[join.first].append(join)
            self._joins[join.second].append(join)
            first, second = sorted((self.photograph(join.first), self.photograph(join.second)))
            self._parent[second] = first  # the least key leads, so the order of joins can't matter

    def joined(self) -> Iterable[ImageKey]:
        """Every key that some join names."""
        return self._joins.keys()

    def photograph(self, key: ImageKey) -> ImageKey:
        """The key that stands for the photograph: the least of all its keys."""
        top = key
        while (parent := self._parent.get(top, top)) != top:
            top = parent
        while (parent := self._parent.get(key, key)) != top:  # shorten the way for the next call
            self._parent[key], key = top, parent
        return top

    def same(self, one: ImageKey, other: ImageKey) -> bool:
        """Whether two keys name one photograph."""
        return self.photograph(one) == self.photograph(other)

    def why(self, one: ImageKey, other: ImageKey) -> list[SameImageLink]:
        """The shortest chain of joins that leads from one key to the other, each turned to go that way.

        Empty where the two are one key, or not one photograph (ask :meth:`same`).
        """
        if one == other or not self.same(one, other):
            return []
        came: dict[ImageKey, SameImageLink] = {}
        waiting = deque([one])
        while other not in came:
            here = waiting.popleft()
            # Sorted once turned: neither the order of joins nor which key a join names first can matter.
            for step in sorted(_from(here, join) for join in self._joins[here]):
                if step.second != one and step.second not in came:
                    came[step.second] = step
                    waiting.append(step.second)
        chain = [came[other]]
        while chain[-1].first != one:
            chain.append(came[chain[-1].first])
        return chain[::-1]


def _from(here: ImageKey, join: SameImageLink) -> SameImageLink:
    """A join turned so that it leads away from one of its keys."""
    return SameImageLink(here, join.first if join.second == here else join.second, join.evidence, join.reason)
