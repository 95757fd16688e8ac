"""SAM against transformers and the official numbers: outputs, blocks, gradients; mutants; batches; bad input."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image

from checkpoints_convert.proof.mutants import StandIn
from checkpoints_convert.proof.references.sam import BASE, TINY
from checkpoints_convert.proof.suite import reference_named, twins
from checkpoints_convert.proof.verify import beside, difference, redraw_all
from minimodels import sam
from minimodels.errors import UserError
from minimodels.pixels.preprocess_padded import PaddedPreprocess
from minimodels.sam import SAM, RelativeAttention
from tests.golden import read_case, run_case

REFERENCE = reference_named("SAM", "transformers")
CASES = ["tiny", "relpos", "vit_b_keys", "vit_l_keys", "vit_h_keys", "amg_helpers"]
CASES += ["generate", "generate_nms", "generate_crops", "generate_clean"]
SMALL = {
    "image_size": 40, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_dim": 32, "window_size": 3,
    "global_blocks": (1,), "prompt_dim": 16, "mask_channels": 8, "decoder_heads": 2, "decoder_mlp_dim": 24,
    "iou_dim": 12,
}  # fmt: skip


def small(seed: int = 0, **changes) -> SAM:
    return redraw_all(SAM(**{**SMALL, **changes}), seed).double()


def prompts(images: int, count: int, points: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(images, count, 2, 2, generator=generator, dtype=torch.float64) * 39
    return {
        "points": torch.rand(images, count, points, 2, generator=generator, dtype=torch.float64) * 39,
        "labels": torch.randint(-1, 2, (images, count, points), generator=generator),
        "boxes": torch.cat([corners.amin(2), corners.amax(2)], dim=-1),
        "mask": torch.randn(images, count, 20, 20, generator=generator, dtype=torch.float64),
    }


def pictures(count: int, side: int = 40, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---------------------------------------------------------------- parity


@pytest.mark.parity
def test_same_as_transformers_own_forward():
    """The parity test decodes an embedding; here is transformers' whole forward, as a user calls it."""
    case = twins(REFERENCE, TINY)
    theirs, ours, given = case.theirs.double(), case.ours.double(), case.inputs
    image, points = given["image"].double(), given["points"].double()
    with torch.no_grad():
        answer = theirs(pixel_values=image, input_points=points, input_labels=given["labels"])
        masks, iou = ours(image, points, given["labels"])
    assert difference(masks, answer.pred_masks) <= 1e-10 and difference(iou, answer.iou_scores) <= 1e-10


@pytest.mark.parity
@pytest.mark.slow
def test_same_as_transformers_at_full_size(device):
    assert (comparison := beside(REFERENCE, BASE, device=device, batch=1)).ok, f"\n{comparison}"


@pytest.mark.parametrize("name", CASES)
def test_official_numbers(root, name):
    with torch.no_grad():
        lines = run_case(read_case(root / "tests/golden/sam" / name))
    assert all(line.ok for line in lines), "\n".join(map(str, lines))


@pytest.mark.parametrize("window", [None, 3])
def test_few_heads_at_a_time_and_weights_in_the_open(window, monkeypatch):
    attention = redraw_all(RelativeAttention(24, 3, 5, window)).double()
    x = torch.randn(2, 5, 5, 24, dtype=torch.float64)
    with torch.no_grad():
        together = attention(x)
        monkeypatch.setattr(sam, "SCORES_AT_ONCE", 1)
        assert difference(attention(x), together) <= 1e-14
        (_, _, v), grid = attention.split_heads(x)
        mixed = rearrange(attention.weights(x) @ v, "b heads (h w) d -> b h w (heads d)", h=grid[0])
        mixed = mixed if window is None else sam.join_windows(mixed, (5, 5))
        assert difference(attention.out_proj(mixed), together) <= 1e-14


# ---------------------------------------------------------------- pixels


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


# ---------------------------------------------------------------- batches and bad input


def test_batches_of_images_and_of_prompts():
    """Every image with every prompt alone gives what the batch gives; one image's prompts serve all."""
    model, images, given = small(), pictures(3), prompts(3, 4)
    with torch.no_grad():
        together = model(images, **given)
        shared = model(images, **{name: tensor[:1] for name, tensor in given.items()})
        for image in range(3):
            for prompt in range(4):
                one = {name: tensor[image : image + 1, prompt : prompt + 1] for name, tensor in given.items()}
                alone = model(images[image : image + 1], **one)
                first = {name: tensor[:1, prompt : prompt + 1] for name, tensor in given.items()}
                with_first = model(images[image : image + 1], **first)
                for found, whole in ((alone, together), (with_first, shared)):
                    assert difference(found[0][0, 0], whole[0][image, prompt]) <= 1e-12
                    assert difference(found[1][0, 0], whole[1][image, prompt]) <= 1e-12
        none = model(images)
        assert none[0].shape == (3, 1, 3, 20, 20) and none[1].shape == (3, 1, 3)
        only_mask = model(images, mask=given["mask"])
        assert only_mask[0].shape == (3, 4, 3, 20, 20)


def test_the_masks_of_each_setting_are_slices_of_all():
    model, embedding, given = small(), small().encode(pictures(1)), prompts(1, 2)
    with torch.no_grad():
        (every, iou), (three, _), (single, lone) = (
            model.decode(embedding, **given, multimask=setting) for setting in (None, True, False)
        )
    assert difference(every[:, :, 1:], three) <= 1e-12 and difference(every[:, :, :1], single) <= 1e-12
    assert difference(iou[:, :, :1], lone) <= 1e-12 and iou.shape == (1, 2, 4)


def test_finite_differences_agree_with_the_gradients_of_prompts():
    model, given = small(), prompts(1, 1)
    embedding = model.encode(pictures(1)).detach()

    def ask(points, boxes, mask):
        masks, iou = model.decode(embedding, points, given["labels"], boxes, mask)
        return masks[..., ::7, ::7], iou

    wanted = [given[name].requires_grad_() for name in ("points", "boxes", "mask")]
    assert torch.autograd.gradcheck(ask, wanted, fast_mode=True)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"labels": None}, "points and labels go together"),
        ({"points": None}, "points and labels go together"),
        ({"boxes": torch.zeros(2, 3, 4)}, "2 images and prompts .* all alike"),
        ({"points": torch.zeros(3, 4, 2, 2), "boxes": None, "mask": None}, "all alike"),
        ({"labels": torch.zeros(2, 4, 3, dtype=torch.long)}, r"need labels \(2, 4, 2\), here came \(2, 4, 3\)"),
        ({"mask": torch.zeros(2, 4, 10, 10)}, r"20 x 20 logits here, came \(10, 10\)"),
    ],
)
def test_prompts_that_do_not_fit(change, message):
    """Asked of the check itself: in the tests the annotations of `decode` would speak first."""
    with pytest.raises(UserError, match=message):
        sam.check_prompts(2, 5, **{**prompts(2, 4), **change})


def test_pictures_and_sizes_that_do_not_fit():
    with pytest.raises(UserError, match="pictures of 40 x 40 pixels, padded .* here came 48 x 48"):
        small().encode(pictures(1, 48))
    for change, message in [
        ({"image_size": 44}, "image_size 44 must be a multiple of 8"),
        ({"prompt_dim": 20}, "prompt_dim 20 of 8"),
        ({"num_heads": 5}, "embed_dim 24 cannot be split into 5 heads"),
        ({"decoder_heads": 3}, "16 channels cannot be split into 3 heads"),
    ]:
        with pytest.raises(UserError, match=message):
            SAM(**{**SMALL, **change})
    with pytest.raises(UserError, match="expected a size"):
        PaddedPreprocess(0)
