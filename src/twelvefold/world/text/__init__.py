"""The language of the drawn world: from a scene to the texts that annotators would have written about its image."""
