"""Make region stores: extract features from images, or import feature files of other projects."""
