"""5.1.1  Relative positions, in rows and columns  (20 minutes, difficulty 4 of 5)

Tokens lie on a grid of h x w, row by row. Token i looks at token j. What is
added to its score is two products: of the query of i with the row of `rel_h`
that belongs to how many grid rows i lies below j, and of the same query with
the row of `rel_w` that belongs to how many columns i lies right of j. The
tables have 2 h - 1 and 2 w - 1 rows: row 0 belongs to the smallest offset,
-(h - 1) or -(w - 1). The query is taken as it is, not divided by anything
(MViTv2, eq. 4; SAM's `add_decomposed_rel_pos`).
"""

import torch


def relative_bias(q, rel_h, rel_w, h, w):
    """q (B, h * w, d), rel_h (2 h - 1, d), rel_w (2 w - 1, d) -> (B, h * w, h * w), [b, i, j] for i looking at j."""
    raise NotImplementedError
