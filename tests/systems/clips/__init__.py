"""CLIPS, and how long its file may be."""

CODE_LINES = {"minimodels/clips.py": 150}
