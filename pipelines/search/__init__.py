"""`zoo sweep`: many trainings that differ in their recipe, and the one that the validation images choose."""
