"""3.2.3  Ids become tokens  (5 minutes, difficulty 1 of 5)

Look each id up in the table of token embeddings, and add the position's
learned vector. A row may be shorter than the context: then the first rows
of the position table are used. Like CLIPTextEmbeddings in transformers.
"""

import torch


def embed_text(ids, token_table, pos):
    """ids (T, N), token_table (vocabulary, D), pos (context, D) with N <= context -> (T, N, D)."""
    raise NotImplementedError
