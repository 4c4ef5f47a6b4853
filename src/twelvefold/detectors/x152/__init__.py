"""The detector of the paper: Faster R-CNN with a ResNeXt-152 FPN backbone."""
