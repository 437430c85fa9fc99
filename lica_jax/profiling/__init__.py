"""Where the time of a compiled training program goes."""
