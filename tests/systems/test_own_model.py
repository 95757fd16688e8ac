"""A reader's own model against the library: the suite takes any class with a conversion table."""

import pytest
import torch
from torch import nn

from checkpoints_convert.proof.suite import Own, prove, reference_named
from checkpoints_convert.tables.rules import Table
from minimodels.errors import UserError

pytestmark = pytest.mark.parity
TIMM = reference_named("ViT", "timm")
TABLE = [
    ("cls_token", "first"),
    ("pos_embed", "places"),
    ("patch_embed.proj.{w}", "cut.{w}"),
    ("blocks.{i}.norm1.{w}", "layers.{i}.norm1.{w}"),
    ("blocks.{i}.attn.qkv.{w}", "layers.{i}.self_attn.in_proj_{w}"),
    ("blocks.{i}.attn.proj.{w}", "layers.{i}.self_attn.out_proj.{w}"),
    ("blocks.{i}.norm2.{w}", "layers.{i}.norm2.{w}"),
    ("blocks.{i}.mlp.fc1.{w}", "layers.{i}.linear1.{w}"),
    ("blocks.{i}.mlp.fc2.{w}", "layers.{i}.linear2.{w}"),
    ("norm.{w}", "last.{w}"),
    ("head.{w}", "classes.{w}"),
]
ROWS = [
    tuple(part.replace("{w}", kind) for part in row) if "{w}" in row[0] else row
    for row in TABLE
    for kind in (("weight", "bias") if "{w}" in row[0] else ("",))
]


class OwnViT(nn.Module):
    """A ViT as a reader might write it, from PyTorch's own layers and with other names than ours."""

    eps = 1e-6

    def __init__(self, img_size, patch_size, embed_dim, depth, num_heads, num_classes):
        super().__init__()
        count = img_size[0] // patch_size * (img_size[1] // patch_size)
        self.first, self.places = (nn.Parameter(torch.zeros(1, n, embed_dim)) for n in (1, 1 + count))
        self.cut = nn.Conv2d(3, embed_dim, patch_size, patch_size)
        shape = {"d_model": embed_dim, "nhead": num_heads, "dim_feedforward": 4 * embed_dim, "dropout": 0.0}
        how = {"activation": "gelu", "norm_first": True, "batch_first": True, "layer_norm_eps": self.eps}
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(**shape, **how) for _ in range(depth))
        self.last, self.classes = nn.LayerNorm(embed_dim, 1e-6), nn.Linear(embed_dim, num_classes)

    def forward(self, image):
        x = self.cut(image).flatten(2).mT
        x = torch.cat([self.first.expand(len(x), -1, -1), x], dim=1) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.classes(self.last(x)[:, 0])


PAIRS = [("layers.{i}", "blocks.{i}"), ("last", "norm")]
FITTING = ["patch 8, class token", "one head, one block"]


def test_an_own_model_is_proven(device):
    found = prove(TIMM, Own(OwnViT, Table(ROWS), pairs=PAIRS), trials=FITTING, device=device)
    assert found.ok, f"\n{found}"
    assert {"image", "layers.0", "last", "logits"} <= {row.ours for row in found.comparisons[0].rows}


def test_its_mistake_is_found(device):
    """Another eps in every block: the first block is named, in each trial."""
    wrong = type("WrongViT", (OwnViT,), {"eps": 1e-5})
    found = prove(TIMM, Own(wrong, Table(ROWS), pairs=PAIRS), trials=FITTING, device=device)
    assert [comparison.ok for comparison in found.comparisons] == [False, False]
    assert {comparison.first_wrong.ours for comparison in found.comparisons} == {"layers.0"}


def test_an_answer_left_out_is_no_proof():
    """The row says that it did not run."""
    own = Own(OwnViT, Table(ROWS), run=lambda model, image: {}, pairs=PAIRS)
    found = prove(TIMM, own, trials=FITTING)
    assert [row.status for row in found.comparisons[0].rows if row.ours == "logits"] == ["SHAPE"]


def test_a_table_with_a_row_missing_is_told():
    rows = [row for row in ROWS if row[0] != "norm.bias"]
    with pytest.raises(UserError, match="unknown name in the checkpoint: norm.bias"):
        prove(TIMM, Own(OwnViT, Table(rows)), trials=FITTING)


def test_ours_is_proven_on_named_trials(device):
    found = prove(TIMM, trials=FITTING, device=device)
    assert found.ok and len(found.comparisons) == 2
