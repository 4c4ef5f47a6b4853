"""The built-in tasks that calls such as ``ask`` use, in Python, on the command line and on the server."""

from __future__ import annotations

ASK = "vqav2"
"""Default of ``ask``: questions of any type, such as yes or no, counts and colors."""

FIND = "coco"
"""Default of ``find`` and of a search in an index."""

POINT = "refcoco"
"""Default of ``point`` and ``ground``: short phrases, which may use positions such as "left"."""

CHOOSE = "visual7w"
"""The task of ``choose``."""

GUESS = "guesswhat"
"""The task of ``guess``."""

COMPARE = "nlvr2"
"""The task of ``compare``."""

ENTAILS = "snli_ve"
"""The task of ``entails``."""
