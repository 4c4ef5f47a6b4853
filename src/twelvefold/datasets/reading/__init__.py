"""Shared parts of the dataset readers: records, answers, safe pickles, image files, dataset cards."""
