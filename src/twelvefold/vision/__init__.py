"""From a photograph to regions: pictures, the detector's network, its training and its measures."""
