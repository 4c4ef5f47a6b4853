"""The model over HTTP: one endpoint for each thing it can be asked, for many clients at once, within limits."""
