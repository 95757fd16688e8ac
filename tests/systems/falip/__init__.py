"""FALIP, and how long its file may be."""

CODE_LINES = {"minimodels/falip.py": 170}
