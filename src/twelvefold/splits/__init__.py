"""Clean splits: decide which examples to remove, record the decision, and apply it (paper, section 2.2)."""
