"""Read text, JSON and TOML of any origin: encodings, limits, and what a file is instead of what it should be.

Every reader of the package goes through here: official files, recipes, manifests, lists of images, requests.
"""
