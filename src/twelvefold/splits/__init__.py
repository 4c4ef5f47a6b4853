"""Which keys name one photograph, and the cleaning of the splits by it. Paper: section 2.2."""
