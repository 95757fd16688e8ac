"""BiomedCLIP: CLIP's idea with two ready encoders, trained on figures of medical papers (lesson 3.12).

Zhang et al. 2023, "BiomedCLIP: a multimodal biomedical foundation model pretrained from fifteen million scientific
image-text pairs", section 3.
Follows the released weights: a ViT-B/16 as timm has it (eps 1e-6), PubMedBERT (eps 1e-12), and no bias in the three
projection layers.

Notation: B images    T texts    N tokens    E embed_dim, the space both encoders share    H W pixels
"""

from jaxtyping import Float, Int
from torch import Tensor, nn

from minimodels.bert import BERT
from minimodels.clip import DualEncoder
from minimodels.vit import ViT


class ProjectedViT(nn.Module):
    """A ViT without its head, the class token projected by one matrix."""

    def __init__(self, vit: ViT, embed_dim: int):
        super().__init__()
        self.vit = vit
        self.proj = nn.Linear(vit.pos.shape[1], embed_dim, bias=False)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed_dim"]:
        """Embeddings (B, E), not normalised, of pictures normalised with CLIP's mean and std."""
        return self.proj(self.vit(image))


class ProjectedBERT(nn.Module):
    """A BERT whose [CLS] goes through two matrices with a GELU between them; its own pooler is not used.

    The hidden layer is as wide as the mean of what comes in and what goes out.
    """

    def __init__(self, bert: BERT, embed_dim: int, pad: int = 0):
        super().__init__()
        self.bert, self.pad = bert, pad
        width = bert.pos.shape[1]
        hidden = (width + embed_dim) // 2
        self.fc1 = nn.Linear(width, hidden, bias=False)
        self.activation = nn.GELU()
        self.fc2 = nn.Linear(hidden, embed_dim, bias=False)

    def forward(self, ids: Int[Tensor, "texts tokens"]) -> Float[Tensor, "texts embed_dim"]:
        """Embeddings (T, E), not normalised; the padding is found by its id, and no token sees it."""
        tokens = self.bert(ids, ids != self.pad)  # (T, N, D)
        return self.fc2(self.activation(self.fc1(tokens[:, 0])))  # (T, E)


class BiomedCLIP(DualEncoder):
    """BiomedCLIP; the defaults are its released size.

    Args:
        vit: the image encoder, without a head. bert: the text encoder, without a pooler.
        embed_dim: E. pad: the id of [PAD].
    """

    def __init__(self, vit: ViT, bert: BERT, *, embed_dim: int = 512, pad: int = 0):
        super().__init__(ProjectedViT(vit, embed_dim), ProjectedBERT(bert, embed_dim, pad))
        self.pad = pad

    def trim(self, ids: Int[Tensor, "texts context"]) -> Int[Tensor, "texts tokens"]:
        """The columns up to the longest text: no token sees the padding, so cutting it off changes nothing."""
        return ids[:, : int((ids != self.pad).sum(dim=1).max())] if ids.numel() else ids
