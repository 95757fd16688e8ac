"""What the parts take when nothing is told: no mask, biases, exact GELU (Dosovitskiy et al. 2021, appendix A)."""

from torch import nn

from minimodels.blocks import MLP, Attention, Block, PostNormBlock
from tests.systems.defaults import defaults, epsilons


def test_defaults():
    assert defaults(Attention) == {"causal": False, "qkv_bias": True}
    assert defaults(MLP) == {"activation": nn.GELU}
    plain = {"activation": nn.GELU, "norm_eps": 1e-6, "causal": False, "qkv_bias": True}
    assert defaults(Block) == defaults(PostNormBlock) == plain


def test_they_reach_the_parts():
    block = Block(8, 2, 16)
    assert epsilons(block) == {1e-6} and not block.attn.causal and block.attn.qkv.bias is not None
    assert isinstance(block.mlp.activation, nn.GELU) and block.mlp.activation.approximate == "none"
    other = Block(8, 2, 16, activation=nn.ReLU, norm_eps=1e-3, causal=True, qkv_bias=False)
    assert epsilons(other) == {1e-3} and other.attn.causal and other.attn.qkv.bias is None
    assert isinstance(other.mlp.activation, nn.ReLU)
