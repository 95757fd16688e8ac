"""SAM's pixels beside transformers' and the official numbers, with the wrong ones that must miss them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image

from checkpoints_convert.proof.mutants import StandIn
from checkpoints_convert.proof.verify import difference
from minimodels.pixels.preprocess_padded import PaddedPreprocess
from minimodels.sam import SAM
from tests.golden import read_case, run_case


def sizes_and_pictures():
    chance = np.random.default_rng(0)
    for height, width in [(30, 47), (64, 64), (100, 33), (7, 90), (51, 50)]:
        yield Image.fromarray(chance.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parity
@pytest.mark.parametrize("image", sizes_and_pictures(), ids=lambda image: "x".join(map(str, image.size)))
def test_pixels_are_those_of_transformers(image):
    """Pixel by pixel the same 8 bit numbers; behind them transformers divides by 255 first, which float32 rounds."""
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    ours = PaddedPreprocess(64)
    processor = SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    plain = processor(image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
    height, width = ours.inside((image.height, image.width))
    assert np.array_equal(
        np.moveaxis(np.asarray(ours.resize(image)), -1, 0), plain[:, :height, :width].astype(np.uint8)
    )
    theirs = torch.as_tensor(processor(image, return_tensors="np")["pixel_values"][0])
    assert difference(ours(image), theirs) < 3e-6 and not theirs[:, height:].any() and not theirs[..., width:].any()


def tensor_resize(preprocess, image):
    height, width = preprocess.inside((image.height, image.width))
    pixels = rearrange(torch.from_numpy(np.array(image)), "h w c -> 1 c h w").float()
    pixels = F.interpolate(pixels, (height, width), mode="bilinear", antialias=True)[0].round().byte()
    return Image.fromarray(rearrange(pixels, "c h w -> h w c").numpy())


def pad_first(preprocess, image, dtype=torch.float32):
    small = preprocess.resize(image)
    square = Image.new("RGB", (preprocess.size, preprocess.size))
    square.paste(small)
    mean, std = (torch.tensor(numbers, dtype=dtype) for numbers in (preprocess.mean, preprocess.std))
    return rearrange((torch.from_numpy(np.array(square)).to(dtype) - mean) / std, "h w c -> c h w")


def factors_of_the_scale(preprocess, points, size):
    return points * (preprocess.size / max(size))


def one_interpolation(model, masks, inside, size):
    share = masks[
        ..., : masks.shape[-2] * inside[0] // model.image_size, : masks.shape[-1] * inside[1] // model.image_size
    ]
    return F.interpolate(share.flatten(0, 1), size, mode="bilinear")[None]


PIXEL_MUTANTS = {
    "resized as a tensor": (StandIn(PaddedPreprocess, "resize", tensor_resize), "out.resized"),
    "padded before it is normalised": (StandIn(PaddedPreprocess, "__call__", pad_first), "out.preprocessed.s4"),
    "one factor for both axes": (StandIn(PaddedPreprocess, "to_square", factors_of_the_scale), "out.apply_coords"),
    "one interpolation": (StandIn(SAM, "enlarge", one_interpolation), "out.points.multi.logits.s5"),
}


@pytest.mark.parametrize("name", PIXEL_MUTANTS)
def test_mutants_of_the_pixels_are_caught_by_the_official_numbers(root, name):
    mutant, array = PIXEL_MUTANTS[name]
    case = "amg_helpers" if array == "out.apply_coords" else "tiny"
    with torch.no_grad(), mutant():
        lines = {line.name: line for line in run_case(read_case(root / "tests/golden/sam" / case))}
    assert lines[array].ok is False
