"""2.4 Loading official weights, and proving it."""
