"""ViT, and how long its file may be."""

CODE_LINES = {"minimodels/vit.py": 120}
