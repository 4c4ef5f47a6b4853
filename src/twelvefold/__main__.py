"""``python -m twelvefold`` is ``twelvefold``."""

from twelvefold.cli import main

if __name__ == "__main__":
    main()
