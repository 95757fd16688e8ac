"""Pixels & Prompts: compact models that read from top to bottom and load the official weights.

`minimodels.load("tiny-clip")` gives an embedded model in eval mode, with `.preprocess` and `.tokenize` beside it.
"""

from minimodels.errors import UserError
from minimodels.stored.models import load

__all__ = ["UserError", "load"]
