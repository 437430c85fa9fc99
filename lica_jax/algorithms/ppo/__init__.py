"""IPPO and MAPPO: clipped policy steps with learned values."""
