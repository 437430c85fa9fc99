"""The game as a program: where it is installed, its process, its connection, its messages."""
