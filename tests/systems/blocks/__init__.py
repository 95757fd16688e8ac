"""The parts that every transformer is made of, and how long their file may be."""

CODE_LINES = {"minimodels/blocks.py": 130}
