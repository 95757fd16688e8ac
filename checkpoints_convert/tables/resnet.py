"""ResNet: torchvision's and timm's names, which are the same, <-> ours (lesson 3.12).

Both libraries count convolutions from 1 and call a stage `layer1`. A variant of timm's with another stem or shortcut
("resnet50d" ...) has other names and is refused.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from checkpoints_convert.tables.catalogue import Entry, File
from checkpoints_convert.tables.rules import Row, Table
from checkpoints_convert.tables.system import Architecture, Format, System, count_blocks
