"""Many environments in lock step, each in a worker process."""
