"""The embedded world: scenes, pictures, language and the twelve official formats, all made from one seed.

It stands in for the photographs and annotations of the paper's datasets (section 2.1), which can't be shipped.
"""
