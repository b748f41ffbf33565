"""How training images are changed: shifts, crops, turns, colors, a poorer camera, and images that are mixed."""
