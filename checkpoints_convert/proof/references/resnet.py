"""ResNet beside torchvision's and timm's, which share their names."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints_convert.proof.references import Outputs, Reference, Sizes, Trial, random_image

BLOCKS = {True: "Bottleneck", False: "BasicBlock"}


def build_torchvision(*, depths: list[int], bottleneck: bool, num_classes: int = 1000) -> nn.Module:
    """torchvision's model; its first map always has 64 channels."""
    from torchvision.models import resnet

    return resnet.ResNet(getattr(resnet, BLOCKS[bottleneck]), list(depths), num_classes=num_classes)


def build_timm(*, depths: list[int], bottleneck: bool, num_classes: int = 1000) -> nn.Module:
    """timm's model."""
    from timm.models import resnet

    channels = [64 * 2**stage for stage in range(len(depths))]
    return resnet.ResNet(getattr(resnet, BLOCKS[bottleneck]), list(depths), num_classes=num_classes, channels=channels)


def told(sizes: Sizes) -> dict[str, Any]:
    """What shapes do not tell: that it is a plain one, of these sizes."""
    return {"architecture": "resnet50" if sizes["bottleneck"] else "resnet18", "depths": tuple(sizes["depths"])}


def torchvision_sizes(arguments: Mapping[str, Any]) -> Sizes | None:
    """torchvision's words for the arguments of ours: always four stages, 64 channels at first and a head."""
    sizes = timm_sizes(arguments)
    return sizes if sizes and len(sizes["depths"]) == 4 and sizes["num_classes"] else None


def timm_sizes(arguments: Mapping[str, Any]) -> Sizes | None:
    """timm's words; its first map has 64 channels."""
    keys = ("depths", "bottleneck", "num_classes")
    return {key: arguments[key] for key in keys} if arguments["width"] == 64 else None


def run(model: Any, image: Tensor) -> Outputs:
    """Class scores, or pooled features where there is no head."""
    return {"logits": model(image)}


def inputs(arguments: Mapping[str, Any], generator: torch.Generator, batch: int) -> dict[str, Tensor]:
    """Pictures of any size; odd sides at every stage."""
    return {"image": random_image(generator, batch, 70, 105)}


TINY: Sizes = {"depths": [1, 2, 1, 1], "bottleneck": True, "num_classes": 5}
BASIC: Sizes = {"bottleneck": False, "depths": [2, 1, 1, 2]}
TRIALS = {
    "bottlenecks": Trial(),
    "basic blocks": Trial(BASIC, batch=3),
    "one pixel in the last map": Trial(image_size=(32, 17)),
}
PAIRS = [("stem.norm", "bn1"), *((f"stages.{stage}.{{i}}", f"layer{stage + 1}.{{i}}") for stage in range(4))]


def size(depths: list[int], bottleneck: bool) -> dict[str, Any]:
    """A released size."""
    return {"depths": depths, "bottleneck": bottleneck}


RELEASED = {
    "resnet18": size([2, 2, 2, 2], False),
    "resnet34": size([3, 4, 6, 3], False),
    "resnet50": size([3, 4, 6, 3], True),
    "resnet101": size([3, 4, 23, 3], True),
}
REFERENCES = [
    Reference(
        model="ResNet",
        library="torchvision",
        system="resnet",
        format="torchvision",
        build=build_torchvision,
        inputs=inputs,
        run=run,
        run_reference=run,
        pairs=[*PAIRS, ("head", "fc")],
        told=told,
        sizes=torchvision_sizes,
        tiny=TINY,
        trials=TRIALS,
        official=RELEASED,
    ),
    Reference(
        model="ResNet",
        library="timm",
        system="resnet",
        format="timm",
        build=build_timm,
        inputs=inputs,
        run=run,
        run_reference=run,
        pairs=[*PAIRS, ("head", "fc")],
        told=told,
        sizes=timm_sizes,
        tiny=TINY,
        trials={
            **TRIALS,
            "no head": Trial({"num_classes": 0}, batch=3, pairs=PAIRS),
        },
        official={
            "timm/resnet18.a1_in1k": RELEASED["resnet18"],
            "timm/resnet34.a1_in1k": RELEASED["resnet34"],
            "timm/resnet50.a1_in1k": RELEASED["resnet50"],
            "timm/resnet101.a1h_in1k": RELEASED["resnet101"],
        },
    ),
]
