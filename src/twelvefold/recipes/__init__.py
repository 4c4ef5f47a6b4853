"""The recipes that come with the package; ``training.recipe`` says what every value means."""
