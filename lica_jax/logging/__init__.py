"""What a run tells people: rows of metrics on disk and a live line in the terminal."""
