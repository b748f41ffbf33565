"""The commands: each function below `@command` is one, with its arguments above and its table beside it."""
