"""Wrong BERTs: post-norm, padding mask, embedding, pooler."""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from checkpoints_convert.proof.mutants import Change, Mutant, each, inside, methods, put, swap
from checkpoints_convert.proof.mutants import blocks as wrong
from checkpoints_convert.proof.references import Trial
from minimodels.bert import BERT
from minimodels.blocks import Attention, Block, PostNormBlock, QuickGELU

# ---------------------------------------------------------------- blocks


def pre_norm(block: Any) -> None:
    """The norms before the branches."""
    block.__class__ = Block


def one_head(block: Any) -> None:
    """All channels in one head."""
    block.attn.num_heads, block.attn.head_dim = 1, block.attn.num_heads * block.attn.head_dim


def one_residual(block: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """The MLP without its residual."""
    return block.norm2(block.mlp(block.norm1(x + block.attn(x, mask))))


def norm_before_sum(block: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """The branch is normed, not the sum."""
    x = x + block.norm1(block.attn(x, mask))
    return x + block.norm2(block.mlp(x))


# ---------------------------------------------------------------- the mask


def mask_made_by(make: Any) -> Change:
    """Another rule for which keys are seen."""

    def key_mask(model: Any, ids: Tensor, mask: Tensor | None) -> Tensor | None:
        return make(mask.bool()) if mask is not None else None

    return methods(BERT, key_mask=key_mask)


def queries_masked(real: Tensor) -> Tensor:
    """The padding does not look, where it should not be looked at; everyone sees itself."""
    return real[:, None, :, None] | torch.eye(real.shape[1], dtype=torch.bool, device=real.device)


def masked_after(attention: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Masked weights are zeroed, but the rows no longer sum to one."""
    q, k, v = attention.split_heads(x)
    weights = (q @ k.mT * attention.head_dim**-0.5).softmax(-1)
    weights = weights if mask is None else weights * mask
    return attention.out_proj(rearrange(weights @ v, "b heads n d -> b n (heads d)"))


def masked_weakly(attention: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Minus ten instead of minus infinity."""
    q, k, v = attention.split_heads(x)
    scores = q @ k.mT * attention.head_dim**-0.5
    scores = scores if mask is None else scores - 10 * (~mask)
    return attention.out_proj(rearrange(scores.softmax(-1) @ v, "b heads n d -> b n (heads d)"))


def zeroed_padding(model: Any, ids: Tensor, token_types: Tensor | None = None) -> Tensor:
    """Padding zeroed instead of hidden: a zero vector still has a key and a value."""
    return BERT.embed(model, ids, token_types) * (ids != 0)[..., None]


# ---------------------------------------------------------------- first and last layers


def embedding(
    *, factor: float = 1.0, first_position: int = 0, types: bool = True, swapped: bool = False, norm: bool = True
) -> Change:
    """The first layer spelled out, with one thing wrong; with nothing wrong it is right."""

    def embed(model: Any, ids: Tensor, token_types: Tensor | None = None) -> Tensor:
        told = torch.zeros_like(ids) if token_types is None else token_types
        x = model.token_embedding(ids) * factor
        x = x + model.pos.roll(-first_position, 0)[: ids.shape[1]]
        if types:
            x = x + model.token_type[1 - told if swapped else told]
        return model.norm(x) if norm else x

    return methods(BERT, embed=embed)


def pooled_plainly(model: Any, tokens: Tensor) -> Tensor:
    """No tanh."""
    return model.pooler(tokens[:, 0])


def pooled_last(model: Any, tokens: Tensor) -> Tensor:
    """The last token, not [CLS]."""
    return torch.tanh(model.pooler(tokens[:, -1]))


TRANSFORMERS = ("BERT", "transformers")
THREE_TEXTS = Trial(batch=3)
CHANGES: dict[str, Change] = {
    "pre-norm": inside("blocks", pre_norm),
    "norm before the sum": methods(PostNormBlock, forward=norm_before_sum),
    "eps 1e-5": each(PostNormBlock, wrong.epsilon(1e-5)),
    "eps 1e-5 in the embedding": inside("norm", put("eps", 1e-5)),
    "tanh GELU": wrong.activation(wrong.tanh_gelu),
    "QuickGELU": wrong.activation(QuickGELU),
    "norms swapped": each(PostNormBlock, swap("norm1", "norm2")),
    "one head": each(PostNormBlock, one_head),
    "causal": each(Attention, put("causal", True)),
    "no second residual": methods(PostNormBlock, forward=one_residual),
    "mask inverted": mask_made_by(lambda real: ~real[:, None, None]),
    "mask ignored": mask_made_by(lambda real: None),
    "mask of the first text for all": mask_made_by(lambda real: real[:1, None, None]),
    "queries masked, not keys": mask_made_by(queries_masked),
    "[CLS] masked": mask_made_by(lambda real: F.pad(real[:, None, None, 1:], (1, 0))),
    "mask after the softmax": methods(Attention, forward=masked_after),
    "a mask of minus ten": methods(Attention, forward=masked_weakly),
    "padding zeroed, not hidden": methods(BERT, embed=zeroed_padding, key_mask=lambda model, ids, mask: None),
    "no token types": embedding(types=False),
    "token types swapped": embedding(swapped=True),
    "positions from 1": embedding(first_position=1),
    "no norm after the embedding": embedding(norm=False),
    "words scaled as in the first transformer": embedding(factor=24**0.5),
    "last block left out": lambda model: setattr(model, "blocks", model.blocks[:-1]),
    "pooler without tanh": methods(BERT, pool=pooled_plainly),
    "pooler of the last token": methods(BERT, pool=pooled_last),
}
MUTANTS = [Mutant(name, change, TRANSFORMERS, THREE_TEXTS) for name, change in CHANGES.items()]
