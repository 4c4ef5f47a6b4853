"""Shared parts of the dataset readers: record readers, answers, safe unpickling, image files, dataset cards."""
