"""DINOv2 beside timm and transformers at full size, and where the libraries go other ways.

The libraries resize positions in ways of their own. At the trained size all agree to 1e-10; at any other the official
numbers (golden cases) win, and what the libraries do instead is named in `test_libraries_resize_in_another_way`.
"""

import pytest
import torch

from checkpoints_convert import build
from checkpoints_convert.proof.compare import difference
from checkpoints_convert.proof.references.dinov2 import REFERENCES
from checkpoints_convert.proof.suite import reference_named
from checkpoints_convert.proof.verify import beside, redraw_all
from tests.systems.dinov2.small import pictures


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("name", ["facebook/dinov2-small", "facebook/dinov2-with-registers-small"])
def test_full_size(name, device):
    (reference,) = (reference for reference in REFERENCES if name in reference.official)
    assert (comparison := beside(reference, reference.official[name], device=device, batch=1)).ok, f"\n{comparison}"


WAYS = {  # what each library does at another size than the trained one, in our words
    ("DINOv2", "timm"): {"position_offset": 0.0, "antialias": True},
    ("DINOv2", "transformers"): {"position_offset": 0.0, "antialias": False},
    ("DINOv2 registers", "timm"): {},
    ("DINOv2 registers", "transformers"): {},
}


@pytest.mark.parity
@pytest.mark.parametrize("names", WAYS, ids=", ".join)
@pytest.mark.parametrize("size", [(28, 56), (70, 42), (126, 28)])
def test_libraries_resize_in_another_way(names, size):
    """Told to do as they do we agree, to float32 (both resize in it); with the official way the plain models do not."""
    reference = reference_named(*names)
    sizes = {**reference.tiny, **({"dynamic_img_size": True} if names[1] == "timm" else {})}
    theirs = redraw_all(reference.build(**sizes), 0).double().eval()
    image = pictures(2, *size)
    told = {**reference.told(sizes), **WAYS[names]}
    with torch.no_grad():
        expected = reference.run_reference(theirs, image)["patches"]
        as_they_do = build(theirs.state_dict(), "dinov2", format=reference.format, **told).encode(image).patches
        official = reference.ours(theirs, sizes).encode(image).patches
    assert difference(as_they_do, expected) <= 1e-5
    if names[0] == "DINOv2":
        assert difference(official, expected) > 1e-3
