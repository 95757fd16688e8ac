"""ResNet's defaults and sizes beside torchvision's and timm's."""

import pytest
import torch

from checkpoints_convert.proof.suite import reference_named, twins
from checkpoints_convert.tables.resnet import PLAIN
from minimodels.errors import UserError
from minimodels.resnet import BasicBlock, Bottleneck, ResNet
from tests.systems.defaults import defaults, empty, epsilons, parameters
from tests.systems.sizes import assert_right_or_refused

LIBRARIES = ("torchvision", "timm")


def test_defaults():
    assert defaults(ResNet) == {"depths": (3, 4, 6, 3), "bottleneck": True, "width": 64, "num_classes": 1000}
    assert defaults(BasicBlock) == defaults(Bottleneck) == {"stride": 1}


@pytest.mark.parametrize("name", PLAIN)
def test_they_are_the_models_of_the_libraries(name):
    """He et al. 2016, table 1, and timm's two further plain ones."""
    import timm
    import torchvision

    depths, bottleneck = PLAIN[name]
    ours = empty(ResNet, depths=depths, bottleneck=bottleneck)
    builders = [lambda: timm.create_model(name)]
    builders += [getattr(torchvision.models, name)] if hasattr(torchvision.models, name) else []
    for build in builders:
        theirs = empty(build)
        assert parameters(ours) == parameters(theirs) and epsilons(ours) == epsilons(theirs) == {1e-5}
        assert len(list(ours.modules())) > 40


@pytest.mark.parity
@pytest.mark.parametrize("library", LIBRARIES)
def test_any_size(library, device):
    """From one pixel on: each stage rounds up."""
    pair = twins(reference_named("ResNet", library), device=device)
    ours, theirs = pair.ours.double(), pair.theirs.double()
    sizes = (1, 2, 7, 31, 32, 33, 65)
    assert_right_or_refused(ours, theirs, sizes, sizes, lambda height, width: True)


@pytest.mark.parity
def test_the_maps_are_the_librarys(device):
    """Behind each stage: 4, 8, 16 and 32 times smaller."""
    pair = twins(reference_named("ResNet", "torchvision"), device=device)
    ours, theirs, image = pair.ours.double(), pair.theirs.double(), pair.inputs["image"].double()
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(image))))
    for stage, found in enumerate(ours.maps(image), start=1):
        x = getattr(theirs, f"layer{stage}")(x)
        torch.testing.assert_close(found, x, atol=1e-10, rtol=1e-10)
        assert found.shape[-2] == -(-image.shape[-2] // (2 ** (stage + 1)))


@pytest.mark.parametrize("depths", [(), (1, 0), (2, -1)])
def test_a_stage_without_blocks(depths):
    with pytest.raises(UserError, match="each stage has at least one block"):
        ResNet(depths=depths)


def test_no_pictures():
    model = ResNet(depths=(1, 1), bottleneck=False, width=4, num_classes=3).eval()
    assert model(torch.zeros(0, 3, 20, 20)).shape == (0, 3)
