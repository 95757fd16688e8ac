"""The tokenizers, and how long their files may be."""

CODE_LINES = {"minimodels/words/byte_pair.py": 160, "minimodels/words/word_piece.py": 140}
