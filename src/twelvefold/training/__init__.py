"""The mechanics of training: recipe, order of tasks, stop-and-go, optimiser, ranks, checkpoints, log. Section 3.3.

Nothing in here knows a dataset; the loop that uses it all is ``twelvefold/train.py``.
"""
