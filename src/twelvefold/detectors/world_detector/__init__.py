"""The small detector that ships with the package and is trained on the drawn world."""
