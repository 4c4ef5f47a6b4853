"""Download published files. Only this package and the model hub (``export/hub.py``) use the network."""
