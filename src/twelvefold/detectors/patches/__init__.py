"""Image features without a detector: the cells of a backbone's feature map are the regions."""
