"""LAVT: words enter the image encoder itself, at every stage (lessons 4.4 and 4.5).

Yang et al. 2022, "LAVT: Language-Aware Vision Transformer for Referring Image Segmentation", section 3.
Follows the released weights: the decoder reads each F_i through a LayerNorm of its own, scores are scaled by the whole
width however many heads there are, and all words count, [CLS] and [SEP] among them.

Notation: B batch    T word tokens (padding included)    C channels of a stage    H W pixels    h w map of a stage
          V_i what stage i's blocks give    F_i words mixed in    E_i what goes on to the next stage
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from minimodels.bert import BERT
from minimodels.errors import UserError
from minimodels.swin import SwinBackbone

NORM_EPS = 1e-5
CLASSES = 2  # channel 0 is the background, channel 1 what the words mean
# "Y1" means two things. In the paper's figure 2 it is the decoder's last map; comments in the released code call the
# decoder's inputs Y_i, so there it is the normalised F_1. `LAVT.maps` has both.
READINGS_OF_Y1 = {"figure 2": "Y_1", "comments in the code": "N_1"}


def instance_norm(x: Float[Tensor, "batch h w channels"]) -> Float[Tensor, "batch h w channels"]:
    """Each channel of each picture to mean 0 and variance 1 over its positions (Ulyanov et al. 2016).

    Nothing is learned and nothing remembered: the picture's own numbers are used in evaluation too. One position alone
    has no spread: the maps must be larger than 1 x 1.
    """
    variance, mean = torch.var_mean(x, dim=(1, 2), correction=0, keepdim=True)  # (B, 1, 1, C)
    return (x - mean) * (variance + NORM_EPS).rsqrt()


class PWAM(nn.Module):
    """Pixel-word attention: each position collects the words that matter to it (section 3.2).

    Args:
        embed_dim: C, channels of the map. text_dim: width of the words. num_heads: must divide `embed_dim`.

    Raises:
        UserError: `embed_dim` is not divisible by `num_heads`.
    """

    def __init__(self, embed_dim: int, text_dim: int, num_heads: int = 1):
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            raise UserError(
                f"embed_dim {embed_dim} cannot be split into {num_heads} heads; choose a divisor of {embed_dim}"
            )
        self.num_heads = num_heads
        self.scale = embed_dim**-0.5  # the whole width, not one head's: as the released code has it
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(text_dim, embed_dim)
        self.value = nn.Linear(text_dim, embed_dim)
        self.attended_proj = nn.Linear(embed_dim, embed_dim)
        self.visual_proj = nn.Linear(embed_dim, embed_dim)
        self.out_proj = nn.Linear(embed_dim, embed_dim)

    def forward(
        self,
        visual: Float[Tensor, "batch h w channels"],
        words: Float[Tensor, "batch tokens text_dim"],
        mask: Int[Tensor, "batch tokens"],
    ) -> Float[Tensor, "batch h w channels"]:
        """F_i from V_i. At least one word of each row of `mask` must be real (1), as a tokenizer's always is."""
        q, k, v = self.split_heads(instance_norm(self.query(visual)), self.key(words), self.value(words))
        real = rearrange(mask.bool(), "b t -> b 1 1 t")
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=real, scale=self.scale)  # (B, heads, h w, d)
        mixed = rearrange(mixed, "b heads (h w) d -> b h w (heads d)", h=visual.shape[1])
        attended = instance_norm(self.attended_proj(mixed))  # the paper's G_i: a map made of words
        return F.gelu(self.out_proj(F.gelu(self.visual_proj(visual)) * attended))

    def weights(
        self,
        visual: Float[Tensor, "batch h w channels"],
        words: Float[Tensor, "batch tokens text_dim"],
        mask: Int[Tensor, "batch tokens"],
    ) -> Float[Tensor, "batch heads h w tokens"]:
        """The weights in the open: how much each position takes from each word; they sum to one over the words."""
        q, k, _ = self.split_heads(instance_norm(self.query(visual)), self.key(words), self.value(words))
        scores = einsum(q, k, "b heads n d, b heads t d -> b heads n t") * self.scale
        scores = scores.masked_fill(~rearrange(mask.bool(), "b t -> b 1 1 t"), float("-inf"))
        return rearrange(scores.softmax(dim=-1), "b heads (h w) t -> b heads h w t", h=visual.shape[1])

    def split_heads(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Channels in contiguous groups, one a head; positions in one row."""
        q = rearrange(q, "b h w (heads d) -> b heads (h w) d", heads=self.num_heads)
        k = rearrange(k, "b t (heads d) -> b heads t d", heads=self.num_heads)
        return q, k, rearrange(v, "b t (heads d) -> b heads t d", heads=self.num_heads)


class LanguageGate(nn.Module):
    """How much of the words goes on with the picture, decided by position and channel (section 3.3)."""

    def __init__(self, embed_dim: int):
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, embed_dim, bias=False)
        self.fc2 = nn.Linear(embed_dim, embed_dim, bias=False)

    def forward(
        self, visual: Float[Tensor, "batch h w channels"], fused: Float[Tensor, "batch h w channels"]
    ) -> Float[Tensor, "batch h w channels"]:
        """E_i = V_i + gate(F_i) * F_i, the gate between -1 and 1."""
        gate = self.fc2(self.fc1(fused).relu()).tanh()
        return visual + gate * fused


class DecoderStep(nn.Module):
    """Enlarge the coarse map, put the finer one beside it, look at both twice (section 3.4).

    Enlarged bilinearly with align_corners: the corner pixels of both maps lie on each other.
    """

    def __init__(self, coarse_dim: int, fine_dim: int, decoder_dim: int):
        super().__init__()
        self.conv1 = nn.Conv2d(coarse_dim + fine_dim, decoder_dim, kernel_size=3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(decoder_dim, eps=NORM_EPS)
        self.conv2 = nn.Conv2d(decoder_dim, decoder_dim, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(decoder_dim, eps=NORM_EPS)

    def forward(
        self, coarse: Float[Tensor, "batch coarse_dim h2 w2"], fine: Float[Tensor, "batch fine_dim h w"]
    ) -> Float[Tensor, "batch decoder_dim h w"]:
        coarse = enlarge(coarse, fine.shape[-2:])  # (B, coarse_dim, h, w)
        x = self.norm1(self.conv1(torch.cat([coarse, fine], dim=1))).relu()  # (B, decoder_dim, h, w)
        return self.norm2(self.conv2(x)).relu()


def enlarge(x: Float[Tensor, "batch channels h w"], size: Sequence[int]) -> Float[Tensor, "batch channels h2 w2"]:
    """Bilinear with align_corners, everywhere in LAVT; a map that has the size already stays as it is."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


class LAVT(nn.Module):
    """Segment what a sentence means: Swin with pixel-word attention in every stage, BERT beside it.

    The official `lavt` keeps BERT apart and `lavt_one` inside; both are this class, loaded from two layouts.

    Args:
        backbone: a Swin without norms on its maps; a stage has twice the channels of the one before it. The released
            models have the Swin-B of 12 x 12 windows.
        bert: makes the word features; its pooler, if it has one, is not read.
        fusion_heads: heads of each stage's PWAM, one everywhere in the released models.
        decoder_dim: width of the decoder; None: half the channels of the last stage.

    Raises:
        UserError: fusion_heads are not one for each stage, or there is but one stage.
    """

    def __init__(
        self,
        backbone: SwinBackbone,
        bert: BERT,
        *,
        fusion_heads: Sequence[int] = (1, 1, 1, 1),
        decoder_dim: int | None = None,
    ):
        super().__init__()
        if not 2 <= len(backbone.stages) == len(fusion_heads):
            raise UserError(
                f"fusion_heads {tuple(fusion_heads)} for a backbone of {len(backbone.stages)} stages: give one number "
                "for each stage, two stages or more"
            )
        self.backbone, self.bert = backbone, bert
        text_dim = self.text_dim = bert.pos.shape[1]
        dims = [backbone.patch_proj.out_features * 2**stage for stage in range(len(fusion_heads))]
        width = decoder_dim or dims[-1] // 2
        self.fusions = nn.ModuleList(PWAM(dim, text_dim, heads) for dim, heads in zip(dims, fusion_heads))
        # The last gate has weights in every official file, yet there is no next stage to read E_4: never computed.
        self.gates = nn.ModuleList(LanguageGate(dim) for dim in dims)
        self.norms = nn.ModuleList(nn.LayerNorm(dim, eps=NORM_EPS) for dim in dims)
        coarse_dims = [dims[-1]] + [width] * (len(dims) - 2)
        self.steps = nn.ModuleList(DecoderStep(coarse, fine, width) for coarse, fine in zip(coarse_dims, dims[-2::-1]))
        self.head = nn.Conv2d(width, CLASSES, kernel_size=1)

    def forward(
        self,
        image: Float[Tensor, "pictures 3 height width"],
        ids: Int[Tensor, "sentences tokens"],
        mask: Int[Tensor, "sentences tokens"],
    ) -> Float[Tensor, "pictures classes height width"]:
        """Logits of background and referent, of the picture's size; argmax makes the mask.

        Args:
            image: normalised, of any size with more than one position in the last stage.
            ids, mask: what `.tokenize` gives: token numbers, and 1 for a real token.

        Raises:
            UserError: batches that differ, a picture too small.
        """
        return self.segment(image, self.encode_text(ids, mask), mask)

    def encode_text(
        self, ids: Int[Tensor, "sentences tokens"], mask: Int[Tensor, "sentences tokens"]
    ) -> Float[Tensor, "sentences tokens text_dim"]:
        """BERT's last states, one for each token. Encode a sentence once, then `segment` any pictures with it."""
        return self.bert(ids, mask)

    def segment(
        self,
        image: Float[Tensor, "pictures 3 height width"],
        words: Float[Tensor, "sentences tokens text_dim"],
        mask: Int[Tensor, "sentences tokens"],
    ) -> Float[Tensor, "pictures classes height width"]:
        """The same from word features; see `forward`. Any encoder of their width can make them."""
        return self.maps(image, words, mask)["logits"]

    def maps(
        self,
        image: Float[Tensor, "pictures 3 height width"],
        words: Float[Tensor, "sentences tokens text_dim"],
        mask: Int[Tensor, "sentences tokens"],
    ) -> dict[str, Tensor]:
        """Every map on the way by its name, each (B, channels, h, w).

        "patches"; for each stage i "V_i", "F_i", "E_i" (not for the last), "N_i" (F_i through its LayerNorm: what the
        decoder reads); "Y_4" (the last stage's N_i; the paper has F_4 itself), "Y_3", "Y_2", "Y_1" of the decoder;
        "logits_low" and "logits". `READINGS_OF_Y1` says which two of them are called Y1.
        """
        check_words(image, words, mask, self.text_dim)
        check_size(image, self.backbone.patch_size, len(self.norms))
        x = self.backbone.embed(image)  # (B, h, w, C)
        maps, last = {"patches": channels_first(x)}, len(self.norms)
        stages: Any = self.backbone.stages
        for i, stage in enumerate(stages, 1):
            x = stage(x)
            fused = self.fusions[i - 1](x, words, mask)
            maps |= {f"V_{i}": channels_first(x), f"F_{i}": channels_first(fused)}
            maps[f"N_{i}"] = channels_first(self.norms[i - 1](fused))
            if i < last:
                x = self.gates[i - 1](x, fused)
                maps[f"E_{i}"] = channels_first(x)
                x = stage.merge(x)  # (B, h / 2, w / 2, 2 C), rounded up
        return self.decode(maps, image.shape[-2:])

    def decode(self, maps: dict[str, Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        """The decoder's maps and the logits beside what `maps` holds so far; from the coarsest to the finest."""
        last = len(self.norms)
        y = maps[f"Y_{last}"] = maps[f"N_{last}"]
        for i, step in zip(range(last - 1, 0, -1), self.steps):
            y = maps[f"Y_{i}"] = step(y, maps[f"N_{i}"])  # (B, decoder_dim, h_i, w_i)
        maps["logits_low"] = self.head(y)  # (B, 2, h_1, w_1)
        maps["logits"] = enlarge(maps["logits_low"], size)  # (B, 2, H, W)
        return maps


def channels_first(x: Float[Tensor, "batch h w channels"]) -> Float[Tensor, "batch channels h w"]:
    """The same map as convolutions and figures want it."""
    return rearrange(x, "b h w c -> b c h w")


def check_words(image: Tensor, words: Tensor, mask: Tensor, text_dim: int) -> None:
    """One sentence a picture, words of the right width, a number in the mask for each of them."""
    if words.ndim != 3 or words.shape[-1] != text_dim or mask.shape != words.shape[:2]:
        raise UserError(
            f"words have shape {tuple(words.shape)} and their mask {tuple(mask.shape)}, expected (sentences, tokens, "
            f"{text_dim}) and (sentences, tokens): what encode_text and .tokenize of this model give"
        )
    if len(image) != len(words) or not len(image):
        raise UserError(
            f"{len(image)} pictures and {len(words)} sentences: LAVT reads both together, give one sentence for each "
            "picture, repeated where several sentences ask one picture (image.expand(sentences, -1, -1, -1))"
        )


def check_size(image: Tensor, patch_size: int, stages: int) -> None:
    """The last stage's map must have more than one position: over one alone, instance norm would erase everything."""
    height, width = image.shape[-2:]
    side = patch_size * 2 ** (stages - 1)
    if height <= side and width <= side:
        raise UserError(
            f"a picture of {height} x {width} pixels ends as one position in stage {stages}, over which PWAM cannot "
            f"normalise; give more than {side} pixels in height or width, as the model's own .preprocess does"
        )
