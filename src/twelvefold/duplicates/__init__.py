"""Find keys and files of the same image, by id maps, bytes, pixels, near-duplicate search and features."""
