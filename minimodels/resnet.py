"""ResNet: layers that learn what to add to their input (lesson 3.13).

He et al. 2016, "Deep Residual Learning for Image Recognition", sections 3.3 and 4.1, table 1.
Follows the released weights of torchvision and timm: in a bottleneck the 3x3 convolution carries the stride (the paper
has it on the first 1x1: "v1.5"), BatchNorm eps 1e-5, ReLU.

Notation: B batch    C channels    H W pixels    h w feature map    K classes
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from minimodels.clip_resnet import ConvNorm
from minimodels.errors import UserError


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (section 3.3, figure 5 left): ResNet-18 and 34."""

    EXPANSION = 1

    def __init__(self, channels: int, width: int, *, stride: int = 1):
        super().__init__()
        self.conv1 = ConvNorm(channels, width, 3, stride=stride)
        self.conv2 = ConvNorm(width, width, 3)
        self.shortcut = make_shortcut(channels, width, stride)

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch out h2 w2"]:
        branch = F.relu(self.conv1(x))  # (B, width, h / stride, w / stride)
        branch = self.conv2(branch)
        return F.relu(self.shortcut(x) + branch)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut (figure 5 right): ResNet-50, 101 and 152."""

    EXPANSION = 4  # the output is four times as wide as the 3x3 convolution

    def __init__(self, channels: int, width: int, *, stride: int = 1):
        super().__init__()
        self.conv1 = ConvNorm(channels, width, 1)
        self.conv2 = ConvNorm(width, width, 3, stride=stride)
        self.conv3 = ConvNorm(width, 4 * width, 1)
        self.shortcut = make_shortcut(channels, 4 * width, stride)

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch out h2 w2"]:
        branch = F.relu(self.conv1(x))
        branch = F.relu(self.conv2(branch))  # (B, width, h / stride, w / stride)
        branch = self.conv3(branch)  # (B, 4 width, h / stride, w / stride)
        return F.relu(self.shortcut(x) + branch)


def make_shortcut(channels: int, out_channels: int, stride: int) -> nn.Module:
    """The input itself, or a 1x1 convolution where the shape changes (section 3.3, option B)."""
    if stride == 1 and channels == out_channels:
        return nn.Identity()
    return ConvNorm(channels, out_channels, 1, stride=stride)


class ResNet(nn.Module):
    """A residual network: a stem, four stages that halve the map and double the channels, a mean, a linear head.

    The defaults are ResNet-50. ResNet-18 is `depths=(2, 2, 2, 2), bottleneck=False`, ResNet-34 `(3, 4, 6, 3)` without
    bottlenecks, ResNet-101 `(3, 4, 23, 3)` with them.

    Args:
        depths: blocks in each stage.
        bottleneck: which of the two blocks.
        width: channels after the stem.
        num_classes: K; 0 leaves the head out and `forward` returns the mean of the last map.

    Raises:
        UserError: a stage without blocks.
    """

    def __init__(
        self,
        *,
        depths: Sequence[int] = (3, 4, 6, 3),
        bottleneck: bool = True,
        width: int = 64,
        num_classes: int = 1000,
    ):
        super().__init__()
        if not depths or min(depths) < 1:
            raise UserError(f"depths {tuple(depths)}: each stage has at least one block")
        block = Bottleneck if bottleneck else BasicBlock
        self.stem = ConvNorm(3, width, 7, stride=2)
        self.stages = nn.ModuleList()
        channels = width
        for number, depth in enumerate(depths):
            stage_width, stride = width * 2**number, 1 if number == 0 else 2
            blocks = [block(channels, stage_width, stride=stride)]
            channels = block.EXPANSION * stage_width
            blocks += [block(channels, stage_width) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*blocks))
        self.out_channels = channels
        self.head = nn.Linear(channels, num_classes) if num_classes else nn.Identity()

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """Class logits (B, K) of normalised pictures of any size; the pooled features (B, C) without a head."""
        pooled = self.maps(image)[-1].mean(dim=(2, 3))  # (B, C): global average pooling
        return self.head(pooled)

    def maps(self, image: Float[Tensor, "batch 3 height width"]) -> list[Float[Tensor, "batch channels h w"]]:
        """The map behind each stage: 4, 8, 16 and 32 times smaller than the picture."""
        x = F.relu(self.stem(image))  # (B, width, H / 2, W / 2)
        x = F.max_pool2d(x, 3, stride=2, padding=1)  # (B, width, H / 4, W / 4)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
