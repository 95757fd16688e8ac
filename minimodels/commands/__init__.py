"""The commands of `python -m minimodels`, one file each."""
