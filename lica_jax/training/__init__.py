"""Playing, learning and evaluating as pure programs, and what they need of memory."""
