"""Many images, answered into a file: read, classified and written by parts, in several processes."""
