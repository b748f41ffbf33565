"""What is kept on disk until the store has it."""
