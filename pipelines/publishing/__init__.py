"""What others see: lists, pages, registered models."""
