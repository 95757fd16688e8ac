"""The commands of `python -m minimodels`, one file each, and what they share."""
