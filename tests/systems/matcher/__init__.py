"""Matcher, and how long its files may be."""

CODE_LINES = {"minimodels/matcher.py": 300, "minimodels/patch_features.py": 40}
