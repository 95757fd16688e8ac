"""CLIP, and how long its files may be."""

CODE_LINES = {"minimodels/clip.py": 220, "minimodels/clip_resnet.py": 160}
