"""Wrong picture prompts of CLIPSeg miss the official numbers; ../test_golden.py runs the right ones."""

import pytest
import torch
import torch.nn.functional as F
from einops import repeat

from checkpoints_convert import build
from checkpoints_convert.proof.compare import difference
from checkpoints_convert.proof.mutants import StandIn
from minimodels import picture_prompts as prompts
from minimodels.errors import UserError
from tests.golden import read_case, run_case
from tests.systems.clipseg import golden as clipseg


def lines(root, name: str) -> dict:
    with torch.no_grad():
        return {line.name: line for line in run_case(read_case(root / "tests/golden/clipseg" / name))}


@pytest.fixture(scope="module")
def official(root):
    """A case with its model, built once for all wrong ways to mask."""
    case = read_case(root / "tests/golden/clipseg/tiny_refined")
    tensors, clip_tensors = case.checkpoint(), case.checkpoint("clip.keys.json")
    return case, build(tensors, "clipseg", clip=clip_tensors, **clipseg.told(case))


def masked_wrong(official) -> set[str]:
    """Which of the masked prompts miss the official numbers."""
    case, model = official
    support, mask = case.tensor("in.support", torch.float64), case.tensor("in.support_mask", torch.float64)
    with torch.no_grad():
        found = clipseg.masked(model, support, mask)
    return {name for name, tensor in found.items() if difference(tensor, torch.tensor(case.arrays[name])) > 1e-9}


def test_the_official_batch_bug_is_in_its_golden_case_alone(official, monkeypatch):
    """With each picture's own mask for all its heads, as the model has it, the mixed-up array is missed, no other."""
    assert not masked_wrong(official)
    monkeypatch.setattr(clipseg, "mixed_up", prompts.encode_masked_class)
    assert masked_wrong(official) == {"out.masked.cls_all_batch"}


def instead(name, wrong):
    """What stands in the file of picture prompts for a function or number."""
    return StandIn(prompts, name, wrong)


def minus_infinity(block, x, scale):
    attn = block.attn
    q, k, v = attn.split_heads(block.norm1(x))
    scores = (q @ k.mT * attn.head_dim**-0.5).masked_fill(scale == 0, float("-inf"))
    x = x + attn.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
    return x + block.mlp(block.norm2(x))


def bilinear_mask(model, picture, mask):
    side = picture.shape[-1] // model.clip.image_tower.patch_size
    small = F.interpolate(mask[:, None].to(picture), (side, side), mode="bilinear")
    return F.pad(small.flatten(1), (1, 0), value=1.0)[:, None, None]


MASKED = ["cls_all", "cls_last", "all_all"]
ATTENTION_MUTANTS = {
    "minus infinity before the softmax": (instead("scaled_block", minus_infinity), MASKED),
    "mask resized bilinearly": (instead("mask_tokens", bilinear_mask), MASKED),
    "class token and patches swapped": (instead("encode_masked_class", prompts.encode_masked_patches), MASKED[:2]),
    "no mask": (
        instead("encode_masked_class", lambda model, image, mask, layers=None: model.encode_image(image)),
        MASKED[:2],
    ),
}


@pytest.mark.parametrize("name", ATTENTION_MUTANTS)
def test_mutants_of_the_masked_attention(official, name):
    mutant, arrays = ATTENTION_MUTANTS[name]
    with mutant():
        assert {f"out.masked.{array}" for array in arrays} <= masked_wrong(official)


def zero_border_blur(picture, sigma):
    taps = torch.exp(-((torch.arange(15) - 7.0) ** 2) / (2 * sigma**2)).to(picture)
    kernel = repeat(torch.outer(taps, taps) / taps.sum() ** 2, "h w -> 3 1 h w")
    return F.conv2d(picture[None], kernel, padding=7, groups=3)[0]


def bilinear_crop(picture, mask, *, size, context):
    left, right, top, bottom = prompts.mask_box(mask, context)
    side = max(right - left, bottom - top)
    x, y = (side - right + left) // 2, (side - bottom + top) // 2
    padding = (x, side - right + left - x, y, side - bottom + top - y)
    return F.interpolate(F.pad(picture[:, top:bottom, left:right], padding)[None], (size, size), mode="bilinear")[0]


def rounded_box(mask, context=0.0):
    rows, columns = torch.where(mask != 0)
    ends = []
    for places, size in ((columns, mask.shape[1]), (rows, mask.shape[0])):
        low, high = int(places.min()), int(places.max()) + 1
        ends += [max(0, round(low - context * (high - low))), min(size, round(high + context * (high - low)))]
    return tuple(ends)


def swapped_background(picture, mask, *, blur=0.0, background=1.0):
    behind = prompts.gaussian_blur(picture, blur) if blur else picture
    return background * picture * mask + behind * (1 - mask)


PICTURE_MUTANTS = {
    "zeros behind the border of the blur": (
        instead("gaussian_blur", zero_border_blur),
        ["out.call.blur3", "f64.blur3_bg10"],
    ),
    "crop resized bilinearly": (instead("crop_to_mask", bilinear_crop), ["out.call.crop_large", "out.blend.crop"]),
    "box rounded": (instead("mask_box", rounded_box), ["out.bbox_ctx10"]),
    "object darkened": (instead("highlight", swapped_background), ["out.call.bg_50", "out.call.crop_blur_bg10"]),
    "thinner outline": (instead("OUTLINE", 2), ["out.call.outline"]),
    "plain mean as grey": (instead("GREY", (1 / 3, 1 / 3, 1 / 3)), ["out.call.colorize"]),
}


@pytest.mark.parametrize("name", PICTURE_MUTANTS)
def test_mutants_of_the_pictures(root, name):
    mutant, arrays = PICTURE_MUTANTS[name]
    with mutant():
        found = lines(root, "visual_prompt")
    assert not any(found[array].ok for array in arrays) and found["out.call.none"].ok


def test_a_case_without_its_clip(root, tmp_path):
    for path in (root / "tests/golden/clipseg/tiny").iterdir():
        if path.name != "clip.keys.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="clip.keys.json cannot be read"):
        run_case(read_case(tmp_path))
