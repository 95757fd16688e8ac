"""2.2 The transformer block."""
