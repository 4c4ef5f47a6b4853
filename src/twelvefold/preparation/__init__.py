"""Turn official annotation files into example tables, vocabularies and hard negatives."""
