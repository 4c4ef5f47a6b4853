"""Object detectors behind one interface: images in, regions with features out."""
