"""The shipped recipes; ``twelvefold.config.recipe`` documents every value."""
