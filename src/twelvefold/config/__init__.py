"""Recipes and model configurations: typed, validated settings. Nothing here imports torch."""
