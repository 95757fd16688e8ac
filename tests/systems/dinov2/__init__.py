"""DINOv2, and how long its file may be."""

CODE_LINES = {"minimodels/dinov2.py": 180}
