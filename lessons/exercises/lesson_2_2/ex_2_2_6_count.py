"""2.2.6  Count the parameters  (5 minutes, difficulty 1 of 5)

How many learned numbers has one block? Two norms (gain and bias each), the
joint projection of q, k and v, the output projection, and two linear layers
of width D -> M -> D; all of them with biases. The number of heads does not
matter. Counted like `sum(p.numel() for p in layer.parameters())` of
`torch.nn.TransformerEncoderLayer(D, heads, M)`.
"""


def count_parameters(embed_dim, mlp_dim):
    """D and M, two whole numbers -> a whole number."""
    raise NotImplementedError
