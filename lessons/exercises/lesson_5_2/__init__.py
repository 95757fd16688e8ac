"""5.2 Patch matching."""
