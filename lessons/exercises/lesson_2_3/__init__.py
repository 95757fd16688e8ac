"""2.3 The Vision Transformer."""
