"""LAVT, and how long its file may be."""

CODE_LINES = {"minimodels/lavt.py": 220}
