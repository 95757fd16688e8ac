"""Wrong ResNets: stem, strides, shortcuts, the order of sum and ReLU, the norm's numbers, the pooling."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints_convert.proof.mutants import Mutant, become, each, forget, inside, put, swap
from checkpoints_convert.proof.references import Trial
from checkpoints_convert.proof.references.resnet import BASIC
from minimodels.resnet import BasicBlock, Bottleneck, ResNet

TORCHVISION, TIMM = ("ResNet", "torchvision"), ("ResNet", "timm")
BASIC_TRIAL = Trial(BASIC, batch=3)


class ReluBeforeTheSum(Bottleneck):
    def forward(self, x: Tensor) -> Tensor:
        branch = F.relu(self.conv3(F.relu(self.conv2(F.relu(self.conv1(x))))))
        return self.shortcut(x) + branch


class NoReluBehindTheSum(Bottleneck):
    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))


class NoReluBetween(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.conv2(self.conv1(x)))


class NoShortcut(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))))


class ShortcutNormalisedTwice(Bottleneck):
    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return F.relu(F.relu(self.shortcut(x)) + branch)


class StrideOnTheFirst(Bottleneck):
    """As in the paper: the 1x1 convolution strides, and the 3x3 sees a quarter of the places."""

    def forward(self, x: Tensor) -> Tensor:
        stride = self.conv2.conv.stride
        first = F.conv2d(x, self.conv1.conv.weight, stride=stride)
        second = F.conv2d(F.relu(self.conv1.norm(first)), self.conv2.conv.weight, padding=1)
        return F.relu(self.shortcut(x) + self.conv3(F.relu(self.conv2.norm(second))))


class MaxPooledHead(ResNet):
    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.maps(image)[-1].amax(dim=(2, 3)))


class OtherStem(ResNet):
    """The stem's pooling as `pooled` does it."""

    pooled: Callable[[Tensor], Tensor]

    def maps(self, image: Tensor) -> list[Tensor]:
        maps = [self.pooled(F.relu(self.stem(image)))]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


class AverageInTheStem(OtherStem):
    @staticmethod
    def pooled(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, stride=2, padding=1)


class PoolOfTwo(OtherStem):
    @staticmethod
    def pooled(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


class NoReluInTheStem(ResNet):
    def maps(self, image: Tensor) -> list[Tensor]:
        maps = [F.max_pool2d(self.stem(image), 3, stride=2, padding=1)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


class BatchStatistics(nn.BatchNorm2d):
    """The mean and spread of this batch, as in training."""

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


def batch_statistics(module: nn.Module) -> None:
    module.__class__ = BatchStatistics


def forget_statistics(module: nn.Module) -> None:
    """Running statistics that were never loaded."""
    torch.nn.init.zeros_(module.get_buffer("running_mean"))
    torch.nn.init.ones_(module.get_buffer("running_var"))


MUTANTS = [
    Mutant("ReLU stands before the sum", become(ReluBeforeTheSum), TORCHVISION),
    Mutant("no ReLU behind the sum", become(NoReluBehindTheSum), TIMM),
    Mutant("no ReLU between the two convolutions", become(NoReluBetween), TORCHVISION, BASIC_TRIAL),
    Mutant("the shortcut is forgotten", become(NoShortcut), TIMM, BASIC_TRIAL),
    Mutant("ReLU on the shortcut too", become(ShortcutNormalisedTwice), TORCHVISION),
    Mutant("the first 1x1 convolution strides, as in the paper", become(StrideOnTheFirst), TORCHVISION),
    Mutant("the maximum of the last map is pooled", become(MaxPooledHead), TORCHVISION),
    Mutant("the stem averages", become(AverageInTheStem), TORCHVISION),
    Mutant("the stem pools 2 x 2", become(PoolOfTwo), TIMM),
    Mutant("no ReLU in the stem", become(NoReluInTheStem), TORCHVISION),
    Mutant("BatchNorm's epsilon is 1e-3", each(nn.BatchNorm2d, put("eps", 1e-3)), TORCHVISION),
    Mutant("statistics of the batch", each(nn.BatchNorm2d, batch_statistics), TIMM),
    Mutant("running statistics that were never loaded", each(nn.BatchNorm2d, forget_statistics), TORCHVISION),
    Mutant("one norm is left out", forget("stages.1.0.conv2.norm"), TORCHVISION),
    Mutant("two convolutions change places", inside("stages.0.1", swap("conv1", "conv2")), TIMM, BASIC_TRIAL),
]
