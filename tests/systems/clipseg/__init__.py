"""CLIPSeg and picture prompts, and how long its files may be."""

CODE_LINES = {"minimodels/clipseg.py": 220, "minimodels/picture_prompts.py": 180}
