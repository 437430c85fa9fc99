"""Multi-agent particle environments."""
