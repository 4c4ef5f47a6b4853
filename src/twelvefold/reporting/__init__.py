"""Write the report of a run: one self-contained page and the JSON behind it."""
