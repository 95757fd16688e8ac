"""The transformer's parts against PyTorch's own: attention and its weights, masks, both blocks, patches, positions."""

import math
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from checkpoints_convert.proof.compare import compare, difference
from checkpoints_convert.proof.verify import redraw_all
from checkpoints_convert.tables.rules import Table
from minimodels.blocks import MLP, Attention, Block, PostNormBlock, QuickGELU, resize_positions, split_patches
from minimodels.errors import UserError

pytestmark = pytest.mark.parity
EXACT = {"atol": 1e-12, "rtol": 0}

# PyTorch's TransformerEncoderLayer <-> our Block; `linear1` and `linear2` are its MLP.
PYTORCH = Table(
    [(f"self_attn.in_proj_{part}", f"attn.qkv.{part}") for part in ("weight", "bias")]
    + [
        (f"{theirs}.{part}", f"{ours}.{part}")
        for theirs, ours in (
            ("self_attn.out_proj", "attn.out_proj"),
            ("linear1", "mlp.fc1"),
            ("linear2", "mlp.fc2"),
            ("norm1", "norm1"),
            ("norm2", "norm2"),
        )
        for part in ("weight", "bias")
    ]
)


@dataclass
class Sizes:
    """Three heads of 8, and one head, on sequences of 7 and 5."""

    embed_dim: int
    num_heads: int
    mlp_dim: int
    tokens: int


SIZES = [Sizes(24, 3, 40, 7), Sizes(10, 1, 16, 5)]


def tokens(sizes, device, batch=3, seed=0):
    return torch.randn(batch, sizes.tokens, sizes.embed_dim, generator=torch.Generator().manual_seed(seed)).to(device)


def padding(device):
    """Texts of 7, 4 and 1 tokens: True where there is one."""
    lengths = torch.tensor([7, 4, 1], device=device)
    return torch.arange(7, device=device)[None] < lengths[:, None]  # (B, N)


@pytest.mark.parametrize("sizes", SIZES, ids=["3 heads", "1 head"])
@pytest.mark.parametrize("cls, norm_first", [(Block, True), (PostNormBlock, False)], ids=["pre-norm", "post-norm"])
@pytest.mark.parametrize("masked", ["no mask", "padding", "causal"])
def test_blocks_against_pytorch(sizes, cls, norm_first, masked, device):
    """Output and every gradient, pre-norm and post-norm, without a mask, with padding, causal."""
    theirs = nn.TransformerEncoderLayer(
        sizes.embed_dim,
        sizes.num_heads,
        sizes.mlp_dim,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=norm_first,
        layer_norm_eps=1e-6,
    )
    redraw_all(theirs).to(device)
    causal = masked == "causal"
    ours = cls(sizes.embed_dim, sizes.num_heads, sizes.mlp_dim, causal=causal).eval().to(device)
    ours.load_state_dict(PYTORCH.convert(theirs.state_dict()).tensors)
    seen = padding(device)[:, : sizes.tokens] if masked == "padding" else None
    later = nn.Transformer.generate_square_subsequent_mask(sizes.tokens, device=device, dtype=torch.float64)

    def run(model, x):
        return {"output": model(x, None if seen is None else seen[:, None, None, :])}

    def run_theirs(model, x):
        hidden = None if seen is None else ~seen
        return {"output": model(x, src_mask=later.to(x) if causal else None, src_key_padding_mask=hidden)}

    comparison = compare(
        ours,
        theirs,
        {"x": tokens(sizes, device)},
        run=run,
        run_reference=run_theirs,
        to_ours=lambda tensors: PYTORCH.convert(tensors).tensors,
    )
    assert comparison.ok, f"\n{comparison}"


@pytest.mark.parametrize("sizes", SIZES, ids=["3 heads", "1 head"])
@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "padding"])
def test_weights_are_what_runs(sizes, causal, masked, device):
    """`weights` times v is what the fused kernel gives; each row sums to one, hidden places get nothing."""
    attention = redraw_all(Attention(sizes.embed_dim, sizes.num_heads, causal=causal)).double().to(device)
    x = tokens(sizes, device).double()
    mask = padding(device)[:, None, None, : sizes.tokens] if masked else None
    weights = attention.weights(x, mask)
    _, _, v = attention.split_heads(x)
    mixed = (weights @ v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention.out_proj(mixed), attention(x, mask), **EXACT)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones_like(weights[..., 0]), **EXACT)
    if causal:
        assert not weights.triu(1).any()
    if masked:
        assert not weights[~mask.expand_as(weights)].any()


def test_weights_against_pytorch(device):
    """nn.MultiheadAttention shows its weights too, with each head apart."""
    theirs = redraw_all(nn.MultiheadAttention(24, 3, batch_first=True)).double().to(device)
    ours = Attention(24, 3).double().to(device)
    table = Table(
        [("in_proj_weight", "qkv.weight"), ("in_proj_bias", "qkv.bias")]
        + [(f"out_proj.{part}", f"out_proj.{part}") for part in ("weight", "bias")]
    )
    ours.load_state_dict(table.convert(theirs.state_dict()).tensors)
    x, mask = tokens(SIZES[0], device).double(), padding(device)
    output, weights = theirs(x, x, x, key_padding_mask=~mask, average_attn_weights=False)
    assert difference(ours.weights(x, mask[:, None, None, :]), weights) <= 1e-10
    assert difference(ours(x, mask[:, None, None, :]), output) <= 1e-10


def test_masks_hide_what_they_say(device):
    """What a masked key holds changes no answer; a mask for each query and each head is obeyed too."""
    attention = redraw_all(Attention(24, 3)).double().to(device)
    x, mask = tokens(SIZES[0], device).double(), padding(device)[:, None, None, :]
    other = torch.where(padding(device)[..., None], x, torch.full_like(x, 9.0))
    real = padding(device)
    torch.testing.assert_close(attention(x, mask)[real], attention(other, mask)[real], **EXACT)
    torch.testing.assert_close(attention(x[1:2, :4]), attention(x, mask)[1:2, :4], **EXACT)  # as if they were not there
    own = torch.eye(7, dtype=torch.bool, device=device).repeat(3, 3, 1, 1)
    weights = attention.weights(x, own)  # (B, heads, N, N): everyone sees itself alone
    torch.testing.assert_close(weights, own.double(), **EXACT)


@pytest.mark.parametrize("cls", [Attention, Block])
def test_causal_and_padding_together(cls, device):
    """A causal layer with a padding mask hides both: the future and the padding."""
    sizes = (24, 3) if cls is Attention else (24, 3, 40)
    layer = redraw_all(cls(*sizes, causal=True)).double().to(device)
    plain = redraw_all(cls(*sizes)).double().to(device)
    x, seen = tokens(SIZES[0], device).double(), padding(device)
    triangle = torch.ones(7, 7, dtype=torch.bool, device=device).tril()
    both = seen[:, None, None, :] & triangle
    torch.testing.assert_close(layer(x, seen[:, None, None, :]), plain(x, both), **EXACT)
    torch.testing.assert_close(layer(x), plain(x, triangle[None, None]), **EXACT)


def test_heads_must_divide_the_width():
    with pytest.raises(UserError, match="embed_dim 10 cannot be split into 3 heads"):
        Attention(10, 3)


def test_quick_gelu():
    """x * sigmoid(1.702 x); up to 0.02 from the exact GELU, nowhere equal to it but at zero and far out."""
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    ours = QuickGELU()(x)
    assert difference(ours, x / (1 + torch.exp(-1.702 * x))) <= 1e-12
    assert 0.0195 < (ours - F.gelu(x)).abs().max() < 0.0205
    mlp = MLP(4, 8, activation=QuickGELU)
    assert isinstance(mlp.activation, QuickGELU) and isinstance(MLP(4, 8).activation, nn.GELU)
    exact = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    assert difference(MLP(1, 1).activation(x), exact) <= 1e-12


@pytest.mark.parametrize("size, image_size", [(4, (8, 12)), (7, (21, 14)), (16, (16, 16))])
def test_patches_are_a_convolution(size, image_size, device):
    """Cut, flattened and multiplied, patches are what a convolution of that stride computes."""
    image = torch.randn(2, 3, *image_size, dtype=torch.float64, device=device)
    kernel = torch.randn(5, 3, size, size, dtype=torch.float64, device=device)
    expected = F.conv2d(image, kernel, stride=size).flatten(2).transpose(1, 2)
    torch.testing.assert_close(split_patches(image, size) @ kernel.flatten(1).T, expected, **EXACT)


def test_patches_lie_row_by_row():
    """Hand-numbered: pixel 100 r + c. The second patch begins in the first row, behind the first one."""
    image = (100 * torch.arange(4)[:, None] + torch.arange(6)).double().expand(1, 3, 4, 6)
    patches = split_patches(image, 2)
    assert patches.shape == (1, 6, 12)
    assert patches[0, 1, :4].tolist() == [2, 3, 102, 103]  # rows within a channel
    assert patches[0, 3, 4:8].tolist() == [200, 201, 300, 301]  # the second row of patches, second channel
    with pytest.raises(UserError, match="5 x 6 pixels cannot be cut into patches of 2 x 2"):
        split_patches(torch.zeros(1, 3, 5, 6), 2)


@pytest.mark.parametrize("antialias", [False, True], ids=["plain", "antialias"])
def test_positions_are_resized_as_a_picture(antialias):
    """Every channel is a picture of h x w pixels, resized bicubically; an equal grid changes nothing."""
    pos = torch.randn(12, 5, dtype=torch.float64)
    resized = resize_positions(pos, (3, 4), (6, 2), antialias=antialias)
    for channel in range(5):
        picture = pos[:, channel].reshape(1, 1, 3, 4)
        expected = F.interpolate(picture, size=(6, 2), mode="bicubic", align_corners=False, antialias=antialias)
        torch.testing.assert_close(resized[:, channel], expected.flatten(), **EXACT)
    torch.testing.assert_close(resize_positions(pos, (3, 4), (3, 4), antialias=antialias), pos, **EXACT)
