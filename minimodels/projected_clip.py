"""A CLIP of two ready encoders: pictures by a ViT or ResNet, texts by DistilBERT, two small heads (lesson 3.13).

After github.com/moein-shariatnia/OpenAI-CLIP, a teaching model without a paper. It differs from CLIP (Radford et al.
2021) in three ways: the encoders were trained before, a head of two layers leads from each to the shared space, and the
loss has soft targets: pairs that look or read alike may share the answer.

Notation: B pairs    N tokens    D encoder width    E embed_dim, the space both heads share    H W pixels
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from minimodels.bert import BERT
from minimodels.clip import DualEncoder
from minimodels.resnet import ResNet
from minimodels.vit import ViT


class ProjectionHead(nn.Module):
    """Two layers with a shortcut around the second, then a LayerNorm.

    The shortcut starts before the GELU. At the start of training the norm makes every embedding sqrt(E) long.
    """

    def __init__(self, width: int, embed_dim: int, dropout: float = 0.1):
        super().__init__()
        self.fc1 = nn.Linear(width, embed_dim)
        self.fc2 = nn.Linear(embed_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, features: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch embed_dim"]:
        projected = self.fc1(features)  # (B, E)
        return self.norm(projected + self.dropout(self.fc2(F.gelu(projected))))


class ProjectedImage(nn.Module):
    """An image encoder without its head, and a projection head."""

    def __init__(self, encoder: ViT | ResNet, embed_dim: int, dropout: float = 0.1):
        super().__init__()
        width = encoder.out_channels if isinstance(encoder, ResNet) else encoder.pos.shape[1]
        self.encoder, self.proj = encoder, ProjectionHead(width, embed_dim, dropout)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed_dim"]:
        """Embeddings (B, E), not normalised, of pictures normalised with ImageNet's mean and std."""
        return self.proj(self.encoder(image))


class ProjectedText(nn.Module):
    """A text encoder and a projection head on its token [CLS]."""

    def __init__(self, encoder: BERT, embed_dim: int, dropout: float = 0.1, pad: int = 0):
        super().__init__()
        self.encoder, self.proj = encoder, ProjectionHead(encoder.pos.shape[1], embed_dim, dropout)
        self.pad = pad

    def forward(self, ids: Int[Tensor, "texts tokens"]) -> Float[Tensor, "texts embed_dim"]:
        """Embeddings (T, E), not normalised; the padding is found by its id, and no token sees it."""
        tokens = self.encoder(ids, ids != self.pad)  # (T, N, D)
        return self.proj(tokens[:, 0])  # (T, E)


class ProjectedCLIP(DualEncoder):
    """Two encoders of the house without their heads, and a projection head each.

    Args:
        image_encoder: a `ViT` or `ResNet` with `num_classes=0`: pictures (B, 3, H, W) -> features (B, D).
        text_encoder: a `BERT`, in the original a DistilBERT (`token_types=0`).
        embed_dim: E. dropout: in both heads, during training alone.
        temperature: a plain number, not learned.
        pad: the id of [PAD].
    """

    image_tower: ProjectedImage
    text_tower: ProjectedText

    def __init__(
        self,
        image_encoder: ViT | ResNet,
        text_encoder: BERT,
        *,
        embed_dim: int = 256,
        dropout: float = 0.1,
        temperature: float = 1.0,
        pad: int = 0,
    ):
        nn.Module.__init__(self)  # and not DualEncoder's, which adds a learned scale
        self.image_tower = ProjectedImage(image_encoder, embed_dim, dropout)
        self.text_tower = ProjectedText(text_encoder, embed_dim, dropout, pad)
        self.temperature, self.pad = temperature, pad

    @property
    def logit_scale(self) -> Float[Tensor, ""]:  # type: ignore[override]  # computed here, a parameter there
        """The logarithm of what a cosine has to be multiplied by: both heads' usual lengths over the temperature.

        A LayerNorm gives its vectors about the length of its gain. In a search that alone is left of the temperature.
        """
        lengths = self.image_tower.proj.norm.weight.norm() * self.text_tower.proj.norm.weight.norm()
        return (lengths / self.temperature).log()

    def trim(self, ids: Int[Tensor, "texts context"]) -> Int[Tensor, "texts tokens"]:
        """The columns up to the longest text: no token sees the padding, so cutting it off changes nothing."""
        return ids[:, : int((ids != self.pad).sum(dim=1).max())] if ids.numel() else ids

    def logits(
        self, image: Float[Tensor, "batch embed_dim"], text: Float[Tensor, "texts embed_dim"]
    ) -> Float[Tensor, "batch texts"]:
        """Products of the embeddings as they are, over the temperature (B, T): no cosines. As in training."""
        return image @ text.T / self.temperature


def soft_target_loss(
    image: Float[Tensor, "batch embed_dim"], text: Float[Tensor, "batch embed_dim"], temperature: float = 1.0
) -> Float[Tensor, ""]:
    """Cross entropy against targets that are soft: as alike as the pictures and the texts are among themselves.

    As released, with two oddities: the targets' similarities are multiplied by the temperature where the logits are
    divided, and the pictures' half takes the targets transposed, whose rows no longer sum to one. Gradients flow
    through the targets.
    """
    logits = text @ image.T / temperature  # (B, B), a row a text
    alike = (image @ image.T + text @ text.T) / 2  # (B, B)
    targets = (alike * temperature).softmax(dim=-1)  # each row sums to one
    of_texts = F.cross_entropy(logits, targets)
    of_images = F.cross_entropy(logits.T, targets.T)  # each column of the targets' rows: no distribution
    return (of_texts + of_images) / 2


def clip_loss(
    image: Float[Tensor, "batch embed_dim"], text: Float[Tensor, "batch embed_dim"], temperature: float = 0.07
) -> Float[Tensor, ""]:
    """CLIP's own loss (Radford et al. 2021, figure 3): cosines, and the pair alone is right."""
    logits = F.normalize(text, dim=-1) @ F.normalize(image, dim=-1).T / temperature  # (B, B)
    own = torch.arange(len(logits), device=logits.device)  # the n-th text belongs to the n-th picture
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
