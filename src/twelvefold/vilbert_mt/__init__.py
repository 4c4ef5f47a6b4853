"""Read and write checkpoints of the original project (vilbert-multi-task)."""
