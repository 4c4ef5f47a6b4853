"""Serve a model over HTTP: an endpoint for each kind of question, batched across clients, within limits."""
