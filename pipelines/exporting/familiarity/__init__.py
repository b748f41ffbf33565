"""How familiar an image is to a model, as one more output of its file."""
