"""4.3 Picture prompts."""
