"""What the family modules share; every other module of the package ``families`` is a family."""
