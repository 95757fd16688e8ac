"""Wrong CLIPs: towers, end-of-text, logits, and the ResNet's stem, bottlenecks and attention pool."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from checkpoints_convert.proof.mutants import Mutant, become, each, forget, inside, put
from checkpoints_convert.proof.mutants import blocks as wrong
from minimodels.blocks import Attention
from minimodels.clip import CLIP, ImageTower, TextTower
from minimodels.clip_resnet import AttentionPool, Bottleneck, ResNetTower


class NormsBeforePooling(ImageTower):
    """norm_post forgotten."""

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(self.encode(image)[:, 0])


class MeanPooledTower(ImageTower):
    def forward(self, image: Tensor) -> Tensor:
        return self.proj(self.norm_post(self.encode(image).mean(dim=1)))


class EndOffByOne(TextTower):
    def forward(self, ids: Tensor) -> Tensor:
        end = ids.argmax(dim=-1) - 1
        return self.proj(self.encode(ids)[torch.arange(len(ids), device=ids.device), end])


class LastEnd(TextTower):
    """The last end-of-text, where the first one counts."""

    def forward(self, ids: Tensor) -> Tensor:
        end = ids.shape[1] - 1 - ids.flip(1).argmax(dim=-1)
        return self.proj(self.encode(ids)[torch.arange(len(ids), device=ids.device), end])


class LastPlace(TextTower):
    def forward(self, ids: Tensor) -> Tensor:
        return self.proj(self.encode(ids)[:, -1])


class CutTooEarly(TextTower):
    """Cut at the first text's end and not at the longest's."""

    def forward(self, ids: Tensor) -> Tensor:
        end = ids.argmax(dim=-1)
        tokens = self.encode(ids[:, : int(end.min()) + 1])
        return self.proj(tokens[torch.arange(len(ids), device=ids.device), end.clamp(max=tokens.shape[1] - 1)])


class ScaleNotExponentiated(CLIP):
    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        return self.logit_scale * (F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T)


class DotProducts(CLIP):
    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        return self.logit_scale.exp() * (image @ text.T)


class NormalisedEmbeddings(CLIP):
    def encode_image(self, image: Tensor) -> Tensor:
        return F.normalize(super().encode_image(image), dim=-1)


class NoMeanToken(AttentionPool):
    """The first position asks, and not the mean of all."""

    def forward(self, features: Tensor) -> Tensor:
        tokens = rearrange(features, "b c h w -> b (h w) c")
        tokens = torch.cat([tokens[:, :1], tokens], dim=1) + self.pos
        return self.answer(tokens, tokens[:, :1])

    def answer(self, tokens: Tensor, asking: Tensor) -> Tensor:
        q, k, v = self.q_proj(asking), self.k_proj(tokens), self.v_proj(tokens)
        q, k, v = (rearrange(t, "b n (heads d) -> b heads n d", heads=self.num_heads) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(rearrange(mixed, "b heads 1 d -> b (heads d)"))


class MeanAsksOthersOnly(NoMeanToken):
    """The mean does not look at itself."""

    def forward(self, features: Tensor) -> Tensor:
        tokens = rearrange(features, "b c h w -> b (h w) c")
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + self.pos
        return self.answer(tokens[:, 1:], tokens[:, :1])


class StridedConvolution(Bottleneck):
    """The stride in the 3x3 convolution, as in a plain ResNet, and not in an average pool."""

    def forward(self, x: Tensor) -> Tensor:
        stride = self.pool.kernel_size if isinstance(self.pool, nn.AvgPool2d) else 1
        branch = F.relu(self.conv1(x))
        branch = F.conv2d(branch, self.conv2.conv.weight, stride=stride, padding=1)
        branch = self.conv3(F.relu(self.conv2.norm(branch)))
        x = self.shortcut(self.pool(x)) if self.shortcut is not None else x
        return F.relu(x + branch)


class PoolBeforeConvolution(Bottleneck):
    def forward(self, x: Tensor) -> Tensor:
        branch = F.relu(self.conv2(self.pool(F.relu(self.conv1(x)))))
        branch = self.conv3(branch)
        x = self.shortcut(self.pool(x)) if self.shortcut is not None else x
        return F.relu(x + branch)


class ShortcutSubsampled(Bottleneck):
    """Every other pixel on the shortcut, and not the mean of four."""

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv3(self.pool(F.relu(self.conv2(F.relu(self.conv1(x))))))
        step = self.pool.kernel_size if isinstance(self.pool, nn.AvgPool2d) else 1
        x = self.shortcut(x[:, :, ::step, ::step]) if self.shortcut is not None else x
        return F.relu(x + branch)


class MaxPooledStem(ResNetTower):
    def stem_features(self, image: Tensor) -> Tensor:
        x = image
        for layer in self.stem:
            x = F.relu(layer(x))
        return F.max_pool2d(x, 2)


OPEN_CLIP, TRANSFORMERS = ("CLIP ViT", "open_clip"), ("CLIP ViT", "transformers")
RESNET = ("CLIP ResNet", "open_clip")
MUTANTS = [
    Mutant("eps 1e-6 for 1e-5", wrong.epsilon(1e-6), OPEN_CLIP),
    Mutant("GELU for QuickGELU", wrong.activation(nn.GELU), OPEN_CLIP),
    Mutant("no norm before the blocks", forget("image_tower.norm_pre"), OPEN_CLIP),
    Mutant("no norm behind the blocks", become(NormsBeforePooling), OPEN_CLIP),
    Mutant("mean for class token", become(MeanPooledTower), OPEN_CLIP),
    Mutant("end-of-text off by one", become(EndOffByOne), OPEN_CLIP),
    Mutant("last end-of-text", become(LastEnd), OPEN_CLIP),
    Mutant("last place for end-of-text", become(LastPlace), TRANSFORMERS),
    Mutant("texts cut too early", become(CutTooEarly), OPEN_CLIP),
    Mutant("no causal mask", each(Attention, put("causal", False)), OPEN_CLIP),
    Mutant("masked scores set to zero", inside("text_tower", become(wrong.MaskedToZero)), OPEN_CLIP),
    Mutant("a token does not see itself", inside("text_tower", become(wrong.SeesItselfNot)), OPEN_CLIP),
    Mutant("scale not exponentiated", become(ScaleNotExponentiated), OPEN_CLIP),
    Mutant("dot products for cosines", become(DotProducts), OPEN_CLIP),
    Mutant("embeddings of length one", become(NormalisedEmbeddings), OPEN_CLIP),
    Mutant("attention pool without mean token", become(NoMeanToken), RESNET),
    Mutant("mean token does not see itself", become(MeanAsksOthersOnly), RESNET),
    Mutant("pool's heads", each(AttentionPool, put("num_heads", 4)), RESNET),
    Mutant("batch statistics", each(nn.BatchNorm2d, lambda norm: norm.train()), RESNET),
    Mutant("BatchNorm eps 1e-3", each(nn.BatchNorm2d, put("eps", 1e-3)), RESNET),
    Mutant("stride in the convolution", become(StridedConvolution), RESNET),
    Mutant("pool before the convolution", become(PoolBeforeConvolution), RESNET),
    Mutant("shortcut subsampled", become(ShortcutSubsampled), RESNET),
    Mutant("max pool in the stem", become(MaxPooledStem), RESNET),
]
