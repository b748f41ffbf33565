"""What is done with models and data: one file a command, each one public function with a typed result."""
