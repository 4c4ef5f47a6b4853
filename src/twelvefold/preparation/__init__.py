"""Turn official annotation files into example tables, answer lists and hard negatives."""
