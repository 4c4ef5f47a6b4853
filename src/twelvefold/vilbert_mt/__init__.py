"""Import and export checkpoints of vilbert-multi-task, the project of the paper's authors."""
