"""The models, a file a family: a new file of models in this folder is found by itself."""
