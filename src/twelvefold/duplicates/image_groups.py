"""Group image keys that name the same image, and explain why they do.

The sources overlap: half of Visual Genome's images are COCO's, GQA's are Visual Genome's, SNLI-VE's are Flickr30k's.
``duplicates.evidence`` finds the links between keys; here linked keys become groups. Paper: section 2.2, Table 1.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from twelvefold.schema import ImageKey, SameImageLink


class ImageGroups:
    """Groups of keys that name the same image: the connected components of the links, whose order does not matter.
    A key without a link is a group of its own."""

    def __init__(self, links: Iterable[SameImageLink] = ()) -> None:
        self._parent: dict[ImageKey, ImageKey] = {}
        self._links: defaultdict[ImageKey, list[SameImageLink]] = defaultdict(list)
        for link in links:
            self._links[link.first].append(link)
            self._links[link.second].append(link)
            first, second = sorted((self.group_of(link.first), self.group_of(link.second)))
            self._parent[second] = first  # the smallest key is the root, so the order of links does not matter

    def linked_keys(self) -> Iterable[ImageKey]:
        """Return every key that has a link."""
        return self._links.keys()

    def group_of(self, key: ImageKey) -> ImageKey:
        """Return the key that stands for the group of ``key``: the smallest in the group."""
        root = key
        while (parent := self._parent.get(root, root)) != root:
            root = parent
        while (parent := self._parent.get(key, key)) != root:  # path compression
            self._parent[key], key = root, parent
        return root

    def is_same(self, first: ImageKey, second: ImageKey) -> bool:
        """Return whether two keys name the same image."""
        return self.group_of(first) == self.group_of(second)

    def shortest_path(self, first: ImageKey, second: ImageKey) -> list[SameImageLink]:
        """Return the shortest chain of links from ``first`` to ``second``, each link in that direction.

        Empty where the keys are equal or not in the same group (see :meth:`is_same`).
        """
        if first == second or not self.is_same(first, second):
            return []
        link_to: dict[ImageKey, SameImageLink] = {}
        queue = deque([first])
        while second not in link_to:
            key = queue.popleft()
            # Sort after directing the links, so that neither their order nor their direction matters.
            for link in sorted(_directed_from(key, link) for link in self._links[key]):
                if link.second != first and link.second not in link_to:
                    link_to[link.second] = link
                    queue.append(link.second)
        path = [link_to[second]]
        while path[-1].first != first:
            path.append(link_to[path[-1].first])
        return path[::-1]


def _directed_from(key: ImageKey, link: SameImageLink) -> SameImageLink:
    """Return the link in the direction that leads away from ``key``."""
    return SameImageLink(key, link.first if link.second == key else link.second, link.evidence, link.reason)
