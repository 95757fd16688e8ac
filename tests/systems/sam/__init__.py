"""SAM and its mask generator, and how long its files may be."""

CODE_LINES = {"minimodels/sam.py": 380, "minimodels/sam_everything.py": 280}
