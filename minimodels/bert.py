"""BERT: a transformer that reads a sentence in both directions, and DistilBERT, half of it (lesson 2.7).

Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", section 3.
Sanh et al. 2019, "DistilBERT, a distilled version of BERT", section 3.
Follows the released weights: blocks normalised after each sum, LayerNorm eps 1e-12, exact GELU. The dropout of training
(0.1) is left out.

Notation: B texts    N tokens    D embed_dim
"""

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from minimodels.blocks import PostNormBlock
from minimodels.errors import UserError


class BERT(nn.Module):
    """BERT's encoder; the defaults are bert-base-uncased. DistilBERT is `BERT(depth=6, token_types=0)`.

    Args:
        vocab_size: number of token ids.
        max_length: the most tokens a text can have; a learned position for each.
        embed_dim, depth, num_heads, mlp_dim: width, number of blocks, heads a block, hidden width of the MLP.
        token_types: kinds of token (first or second text of a pair); 0 as in DistilBERT, which does not tell them.
        pooler: the layer behind [CLS] that BERT trained to tell whether two texts follow each other.
        norm_eps: epsilon of every LayerNorm.
    """

    def __init__(
        self,
        *,
        vocab_size: int = 30522,
        max_length: int = 512,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_dim: int = 3072,
        token_types: int = 2,
        pooler: bool = False,
        norm_eps: float = 1e-12,
    ):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, embed_dim)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.pos = nn.Parameter(torch.randn(max_length, embed_dim) * 0.02)
        self.token_type = nn.Parameter(torch.randn(token_types, embed_dim) * 0.02) if token_types else None
        self.norm = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.blocks = nn.ModuleList(
            PostNormBlock(embed_dim, num_heads, mlp_dim, norm_eps=norm_eps) for _ in range(depth)
        )
        self.pooler = nn.Linear(embed_dim, embed_dim) if pooler else None

    def forward(
        self,
        ids: Int[Tensor, "texts tokens"],
        mask: Int[Tensor, "texts tokens"] | Bool[Tensor, "texts tokens"] | None = None,
        token_types: Int[Tensor, "texts tokens"] | None = None,
    ) -> Float[Tensor, "texts tokens dim"]:
        """Every token after the last block: (B, N, D), also at the padding, where no answer should be read.

        Args:
            ids: rows of a `WordPieceTokenizer`, padded to one length.
            mask: 1 for a token, 0 for padding, which no token sees, at least one 1 a text; None: all are tokens.
            token_types: 0 in the first text of a pair, 1 in the second; None: all 0.

        Raises:
            UserError: more tokens than positions, types for a model without them, a mask of another shape.
        """
        x = self.embed(ids, token_types)
        keys = self.key_mask(ids, mask)
        for block in self.blocks:
            x = block(x, keys)
        return x

    def embed(
        self, ids: Int[Tensor, "texts tokens"], token_types: Int[Tensor, "texts tokens"] | None = None
    ) -> Float[Tensor, "texts tokens dim"]:
        """What the first block reads: word, position and type summed, then normalised (section 3.1, figure 2)."""
        if ids.shape[1] > len(self.pos):
            raise UserError(
                f"texts of {ids.shape[1]} tokens do not fit this BERT's {len(self.pos)} positions; shorten them, or "
                "tokenize with truncate=True"
            )
        x = self.token_embedding(ids) + self.pos[: ids.shape[1]]  # (B, N, D)
        if self.token_type is None and token_types is not None:
            raise UserError("this model knows no token types (DistilBERT): leave token_types out")
        if self.token_type is not None and token_types is not None:
            x = x + self.token_type[token_types]
        elif self.token_type is not None:
            x = x + self.token_type[0]  # type 0 is learned too: leaving it out changes every answer
        return self.norm(x)

    def key_mask(self, ids: Tensor, mask: Tensor | None) -> Bool[Tensor, "texts 1 1 tokens"] | None:
        """The padding mask as attention reads it, for all heads and all asking tokens."""
        if mask is None:
            return None
        if mask.shape != ids.shape:
            raise UserError(f"the mask is {tuple(mask.shape)}, the ids are {tuple(ids.shape)}: one number a token")
        return rearrange(mask.bool(), "b n -> b 1 1 n")

    def pool(self, tokens: Float[Tensor, "texts tokens dim"]) -> Float[Tensor, "texts dim"]:
        """One vector a text (B, D): tanh of a linear layer over [CLS] (section 3.1, task 2)."""
        if self.pooler is None:
            raise UserError("this BERT was built without its pooler; pooler=True has one, or read the token [CLS]")
        return torch.tanh(self.pooler(tokens[:, 0]))
