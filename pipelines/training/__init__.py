"""From a plan to a run: schedule, optimizer, loop, checkpoints."""
