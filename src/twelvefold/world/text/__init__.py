"""The language of the embedded world: from a scene to what people would have written about its picture."""
