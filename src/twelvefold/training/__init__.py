"""Parts of training: optimizer, round robin, stop-and-go, ranks, checkpoints, log. The loop is ``twelvefold/train.py``.

No dataset is known here. Paper: section 3.3.
"""
