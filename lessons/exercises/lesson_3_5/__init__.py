"""3.5 Text-to-image search."""
