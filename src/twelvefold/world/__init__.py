"""The drawn world: scenes, images, language and the twelve official formats, generated from one seed.

It replaces the images and annotations of the paper's datasets (section 2.1), which cannot be distributed.
"""
