"""What trains: the loop over epochs, its stages, its optimizer, and its state between epochs."""
