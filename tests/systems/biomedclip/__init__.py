"""BiomedCLIP, and how long its file may be."""

CODE_LINES = {"minimodels/biomedclip.py": 110}
