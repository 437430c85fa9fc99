"""IQL, VDN, QMIX and QTRAN: utilities of every agent, learned from replayed episodes."""
