"""From region stores and example tables to batches: tokenization, collation, masking, prefetching."""
