"""One training on several devices or machines: the loop of plain training, with other steps underneath."""
