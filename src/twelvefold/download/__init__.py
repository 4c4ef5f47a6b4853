"""Getting published files: with a model hub's names (``hub.py``), all of the program that opens the network."""
