"""Group image keys that name the same image, and explain why they do.

The sources overlap: half of Visual Genome's images are COCO's, GQA's are Visual Genome's, SNLI-VE's are Flickr30k's.
``duplicates.evidence`` finds the links between keys; here linked keys become groups. Links by similarity join no
groups: two images are also the same if their groups are linked by similarity directly. Paper: section 2.2, Table 1.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from twelvefold.schema import SIMILARITY, ImageKey, SameImageLink


class ImageGroups:
    """Groups of keys that name the same image: the connected components of the links by ids, bytes and pixels, whose
    order does not matter. A key without such a link is a group of its own. Links by similarity lead from one group to
    another, and no further."""

    def __init__(self, links: Iterable[SameImageLink] = ()) -> None:
        self._parent: dict[ImageKey, ImageKey] = {}
        self._links: defaultdict[ImageKey, list[SameImageLink]] = defaultdict(list)
        similar = []
        for link in links:
            self._links[link.first].append(link)
            self._links[link.second].append(link)
            if link.evidence in SIMILARITY:
                similar.append(link)
                continue
            first, second = sorted((self.group_of(link.first), self.group_of(link.second)))
            self._parent[second] = first  # the smallest key is the root, so the order of links does not matter
        self._similar: defaultdict[ImageKey, set[ImageKey]] = defaultdict(set)
        for link in similar:
            first, second = self.group_of(link.first), self.group_of(link.second)
            if first != second:
                self._similar[first].add(second)
                self._similar[second].add(first)

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

    def matching_groups(self, key: ImageKey) -> list[ImageKey]:
        """Return the group of ``key``, then the groups that are linked to it by similarity, sorted."""
        group = self.group_of(key)
        return [group, *sorted(self._similar.get(group, ()))]

    def is_same(self, first: ImageKey, second: ImageKey) -> bool:
        """Return whether two keys name the same image, or images that were found similar to each other."""
        return self.group_of(second) in self.matching_groups(first)

    def shortest_path(self, first: ImageKey, second: ImageKey) -> list[SameImageLink]:
        """Return the shortest chain of links from ``first`` to ``second``, each link in that direction.

        It has a link by similarity only where it needs one, and never two. Empty where the keys are equal or not the
        same image (see :meth:`is_same`).
        """
        if first == second or not self.is_same(first, second):
            return []
        allowed = int(self.group_of(first) != self.group_of(second))
        start, end = (first, 0), (second, allowed)  # a key, and the number of links by similarity on the way to it
        link_to: dict[tuple[ImageKey, int], SameImageLink] = {}
        queue = deque([start])
        while end not in link_to:
            key, used = queue.popleft()
            # Sort after directing the links, so that neither their order nor their direction matters.
            for link in sorted(_directed_from(key, link) for link in self._links[key]):
                reached = (link.second, used + (link.evidence in SIMILARITY))
                if reached != start and reached[1] <= allowed and reached not in link_to:
                    link_to[reached] = link
                    queue.append(reached)
        path, reached = list[SameImageLink](), end
        while reached != start:
            link = link_to[reached]
            path.append(link)
            reached = (link.first, reached[1] - (link.evidence in SIMILARITY))
        return path[::-1]


def _directed_from(key: ImageKey, link: SameImageLink) -> SameImageLink:
    """Return the link in the direction that leads away from ``key``."""
    return SameImageLink(key, link.first if link.second == key else link.second, link.evidence, link.reason)
