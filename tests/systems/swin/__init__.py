"""Swin, and how long its file may be."""

CODE_LINES = {"minimodels/swin.py": 220}
