"""2.1 Attention."""
