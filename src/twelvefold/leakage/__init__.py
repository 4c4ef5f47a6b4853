"""Find test images that appear in the training set of another task or collection (paper, Table 1)."""
