"""A CLIP of two ready encoders, and how long its file may be."""

CODE_LINES = {"minimodels/projected_clip.py": 110}
