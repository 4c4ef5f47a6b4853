"""From stored examples and regions to padded batches: text, regions, collation and the order of a task."""
