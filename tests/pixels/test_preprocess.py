"""Preprocessing against its references on the same PIL image, pixel for pixel. `open_image` is tested beside this file.

Equal means equal: the tests compare float32 tensors with `torch.equal`, no tolerance, because the same operations run
in the same order. Only the golden case, computed elsewhere, has its own tolerance of 1e-6 beside exact 8 bit pixels.
"""

import json
import random

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from open_clip.transform import image_transform
from PIL import Image, ImageOps
from torchvision import transforms
from torchvision.transforms import functional
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from minimodels.errors import UserError
from minimodels.pixels import preprocess
from minimodels.pixels.opening import repair
from minimodels.pixels.preprocess import (
    CLIP_MEAN,
    CLIP_STD,
    HALF,
    TRANSFORMERS_DEFAULTS,
    CLIPPreprocess,
    TimmPreprocess,
    TransformersPreprocess,
    preprocess_to_dict,
    to_tensor,
)
from minimodels.pixels.preprocess_padded import PaddedPreprocess
from minimodels.pixels.preprocess_tensor import SquashPreprocess, TensorPreprocess
from minimodels.stored.models import preprocess_from_dict
from tests.benchmarks.pixels import levels_apart, picture, references

MODES = ["RGB", "L", "LA", "RGBA", "P", "P transparent", "PA", "CMYK", "1", "I;16", "I", "F", "YCbCr", "HSV", "RGBa"]
SIZES = [(37, 51), (3, 50), (1, 9), (9, 1), (1, 1), (40, 47), (43, 40), (80, 80), (97, 64)]  # up, down, thin, square


def official_transform(size):
    """openai/CLIP's `_transform`, rebuilt from torchvision's parts as its source orders them."""
    return transforms.Compose(
        [
            transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
            lambda image: image.convert("RGB"),
            transforms.ToTensor(),
            transforms.Normalize(CLIP_MEAN, CLIP_STD),
        ]
    )


def processed(processor):
    """A transformers image processor as a function image -> float32 (3, H, W)."""
    return lambda image: torch.as_tensor(processor(image)["pixel_values"][0])


def differing(ours, reference, pictures):
    """The pictures that two transforms prepare differently, bit by bit."""
    return [
        f"{image.mode} {image.size}"
        for image in pictures
        if not torch.equal(ours(image.copy()), reference(image.copy()))
    ]


def noise(modes=MODES, sizes=SIZES):
    return [picture(mode, *size, seed=n) for n, mode in enumerate(modes) for size in sizes]


# ---------------------------------------------------------------- each preprocess equals its reference


def test_golden_pictures(root):
    folder = root / "tests/golden/clip/preprocess"
    arrays = np.load(folder / "case.npz")
    cases = json.loads((folder / "config.json").read_text())["cases"]
    assert len(cases) == 5
    for number, case in enumerate(cases):
        image, size = Image.open(folder / case["file"]), case["n_px"]
        resized = preprocess.resize_shorter_side(image, size)
        assert list(resized.size) == case["resized_wh"]
        pixels = np.array(preprocess.center_crop(resized, size, size).convert("RGB"))
        assert np.array_equal(pixels, arrays[f"out.uint8_{number}"])
        tensor = CLIPPreprocess(size)(image)
        assert tensor.dtype == torch.float32
        assert np.abs(tensor.numpy() - arrays[f"out.tensor{number}"]).max() <= 1e-6


@pytest.mark.parametrize("mode", MODES)
def test_clip_equals_openai_and_open_clip_in_any_mode(mode):
    pictures = noise([mode])
    for size in (32, 41):
        assert differing(CLIPPreprocess(size), official_transform(size), pictures) == []
        assert differing(CLIPPreprocess(size), image_transform(size, is_train=False), pictures) == []
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    reference = image_transform(24, is_train=False, mean=mean, std=std)
    assert differing(CLIPPreprocess(24, mean, std), reference, pictures) == []


@pytest.mark.parametrize("mode", MODES)
def test_transformers_clip_in_any_mode(mode):
    for size in (32, 41):
        reference = processed(CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=size))
        assert differing(TransformersPreprocess(size, (size, size)), reference, noise([mode])) == []


def test_transformers_with_any_settings():
    """Random preprocessor_config.json contents of both kinds, old and new style, read by us and by transformers."""
    rng = random.Random(5)
    for _ in range(150):
        kind, processor = rng.choice([("CLIP", CLIPImageProcessorPil), ("ViT", ViTImageProcessorPil)])
        one, two = rng.randint(5, 40), rng.randint(5, 40)
        every = {
            "size": rng.choice([one, {"shortest_edge": one}, {"height": one, "width": two}]),
            "crop_size": rng.choice([two, {"height": two, "width": one}]),
            "resample": rng.choice([0, 1, 2, 3, 4, 5]),
            "do_resize": rng.random() < 0.8,
            "do_center_crop": rng.random() < 0.6,
            "do_normalize": rng.random() < 0.7,
            "rescale_factor": rng.choice([1 / 255, 0.00392156862745098, 1 / 127.5]),
            "image_mean": rng.choice([[0.1, 0.2, 0.3], [0.5, 0.5, 0.5]]),
            "image_std": rng.choice([[0.4, 0.5, 0.6], [0.5, 0.5, 0.5]]),
            "do_convert_rgb": rng.choice([True, None]) if kind == "ViT" else True,
        }
        config = {key: value for key, value in every.items() if rng.random() < 0.7 or key == "crop_size"}
        name = {rng.choice(["image_processor_type", "feature_extractor_type"]): f"{kind}ImageProcessor"}
        ours = TransformersPreprocess.from_config(config | name)
        reference = processed(processor(**config))
        pictures = [picture("RGB", rng.randint(1, 60), rng.randint(1, 60), seed=rng.randint(0, 99)) for _ in range(2)]
        assert differing(ours, reference, pictures) == [], (kind, config)


def test_official_configs():
    """The two files that accompany openai/clip-vit-base-patch32 and google/vit-base-patch16-224, as published."""
    clip = {
        "crop_size": 224,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "resample": 3,
        "size": 224,
    }
    clip |= {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": list(CLIP_MEAN),
        "image_std": list(CLIP_STD),
    }
    assert TransformersPreprocess.from_config(clip) == TransformersPreprocess(224, (224, 224))
    vit = {"do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2}
    vit |= {"feature_extractor_type": "ViTFeatureExtractor", "size": 224}
    expected = TransformersPreprocess((224, 224), None, 2, mean=HALF, std=HALF, convert_rgb=False)
    assert TransformersPreprocess.from_config(vit) == expected
    assert TransformersPreprocess.from_config({"size": 224, "resample": 2, "crop_size": 9}) == expected


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("crop_pct", [0.9, 0.875, 1.0, 1.3])
def test_timm(interpolation, crop_pct):
    """crop_pct 1.3 asks for more than there is, so that the crop pads."""
    mean, std = (0.5, 0.4, 0.3), (0.5, 0.6, 0.7)
    for size in (32, 41):
        reference = timm.data.create_transform(
            (3, size, size), interpolation=interpolation, crop_pct=crop_pct, mean=mean, std=std
        )
        ours = TimmPreprocess(size, crop_pct, interpolation, mean, std)
        assert differing(ours, reference, noise(["RGB"])) == []


def test_timm_settings_of_the_augreg_checkpoints():
    model = timm.create_model("vit_tiny_patch16_224.augreg_in21k_ft_in1k", pretrained=False)
    settings = timm.data.resolve_model_data_config(model)
    assert (settings["crop_pct"], settings["crop_mode"]) == (0.9, "center")
    reference = timm.data.create_transform(**settings, is_training=False)
    assert differing(TimmPreprocess(224), reference, [picture("RGB", 300, 451), picture("RGB", 120, 97)]) == []


def test_center_crop_rounds_and_pads_like_torchvision_in_every_case():
    for mode in ("RGB", "L", "P", "RGBA", "LA", "1"):
        for have in range(1, 11):
            image = picture(mode, have, 12 - have, seed=have)
            for want in range(1, 11):
                ours = preprocess.center_crop(image, want, 11 - want)
                reference = transforms.CenterCrop((want, 11 - want))(image)
                assert ours.mode == reference.mode
                assert np.array_equal(np.array(ours.convert("RGBA")), np.array(reference.convert("RGBA")))


def test_center_crop_down_equals_transformers_in_every_case():
    from transformers.image_transforms import center_crop

    for have in range(1, 11):
        image = picture("RGB", have, 12 - have, seed=have)
        for want in range(1, 11):
            ours = np.array(preprocess.center_crop_down(image, want, 11 - want))
            assert np.array_equal(
                ours, center_crop(np.array(image), (want, 11 - want), input_data_format="channels_last")
            )


# ---------------------------------------------------------------- mutants: each must differ from the reference


def _mutant(resize=None, crop=None, early_rgb=False, tensor=None, mean=CLIP_MEAN, std=CLIP_STD, size=32):
    """CLIP's preprocessing with one step replaced."""
    resize = resize or preprocess.resize_shorter_side
    crop = crop or preprocess.center_crop

    def prepare(image):
        image = image.convert("RGB") if early_rgb else image
        image = crop(resize(image, size), size, size).convert("RGB")
        return preprocess.normalize((tensor or preprocess.to_tensor)(image), mean, std)

    return prepare


def _rounded(image, size):
    short, long = sorted(image.size)
    longer = round(size * long / short)
    return image.resize((size, longer) if image.width <= image.height else (longer, size), Image.Resampling.BICUBIC)


def _without_antialias(image):
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float()
    height, width = (32 * image.height // min(image.size), 32 * image.width // min(image.size))
    resized = F.interpolate(pixels, (height, width), mode="bicubic", align_corners=False, antialias=False)
    cut = transforms.functional.center_crop(resized[0].round().clamp(0, 255), [32, 32]) / 255
    return preprocess.normalize(cut, CLIP_MEAN, CLIP_STD)


def _resized_as_floats(image):
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255
    resized = transforms.functional.resize(pixels, 32, transforms.InterpolationMode.BICUBIC, antialias=True)
    return preprocess.normalize(transforms.functional.center_crop(resized, [32, 32]), CLIP_MEAN, CLIP_STD)


def _cropped_first(image):
    image = preprocess.center_crop(image, min(image.size), min(image.size))
    return CLIPPreprocess(32)(image)


MUTANTS = {
    "bilinear": _mutant(
        resize=lambda image, size: preprocess.resize_shorter_side(image, size, Image.Resampling.BILINEAR)
    ),
    "lanczos": _mutant(
        resize=lambda image, size: preprocess.resize_shorter_side(image, size, Image.Resampling.LANCZOS)
    ),
    "squashed to a square": _mutant(resize=lambda image, size: image.resize((size, size), Image.Resampling.BICUBIC)),
    "longer side rounded": _mutant(resize=_rounded),
    "longer side to the size": _mutant(resize=lambda image, size: ImageOps.contain(image, (size, size))),
    "no antialias": _without_antialias,
    "resized as floats, not rounded to 8 bits": _resized_as_floats,
    "cropped before resized": _cropped_first,
    "crop rounded down": _mutant(crop=preprocess.center_crop_down),
    "crop from the corner": _mutant(crop=lambda image, height, width: image.crop((0, 0, width, height))),
    "RGB before resized": _mutant(early_rgb=True),
    "mean and std swapped": _mutant(mean=CLIP_STD, std=CLIP_MEAN),
    "ImageNet's mean and std": _mutant(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "blue first": _mutant(tensor=lambda image: preprocess.to_tensor(image).flip(0)),
    "not divided by 255": _mutant(tensor=lambda image: preprocess.to_tensor(image) * 255),
    "divided by 256": _mutant(tensor=lambda image: preprocess.to_tensor(image) * (255 / 256)),
    "rows and columns swapped": _mutant(tensor=lambda image: preprocess.to_tensor(image).transpose(1, 2)),
}
RGB_JUDGES = [picture("RGB", 43, 64, grain=0.5), picture("RGB", 64, 47)]
OTHER_JUDGES = [picture("RGBA", 40, 45), picture("P", 50, 70)]


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name):
    judges = OTHER_JUDGES if name == "RGB before resized" else RGB_JUDGES
    assert differing(_mutant(), official_transform(32), judges) == []
    assert len(differing(MUTANTS[name], official_transform(32), judges)) == len(judges)


def test_the_two_orders_differ_where_the_page_says():
    """OpenAI converts last and rounds the crop half to even, transformers converts first and rounds it down."""
    openai, pil, torchvision = references(32).values()
    alike, odd = picture("RGB", 40, 50, grain=0.2), picture("RGB", 32, 39, grain=0.2)  # the rests to crop are 8 and 7
    assert levels_apart(openai, pil, alike) == (0, 0)
    assert levels_apart(openai, pil, odd)[0] > 5
    assert levels_apart(openai, pil, picture("RGBA", 40, 50))[1] > 5
    assert levels_apart(openai, pil, picture("P", 40, 50))[1] > 1
    assert 0 < levels_apart(pil, torchvision, alike)[0] <= 2  # other arithmetic: at most a level or two of 255
    for mode in MODES:
        assert levels_apart(openai, pil, repair(picture(mode, 40, 50))) == (0, 0)


# ---------------------------------------------------------------- numbers in and out of files


@pytest.mark.parametrize(
    "preprocess",
    [
        CLIPPreprocess(64),
        TimmPreprocess(224, 0.95, "bilinear"),
        TransformersPreprocess(224, (224, 224)),
        TransformersPreprocess((24, 32), None, 2, None, None, None, False),
        TransformersPreprocess(None),
    ],
)
def test_preprocess_survives_json(preprocess):
    about = json.loads(json.dumps(preprocess_to_dict(preprocess)))
    again = preprocess_from_dict(about)
    assert again == preprocess
    assert torch.equal(again(picture("RGB", 30, 50)), preprocess(picture("RGB", 30, 50)))


def test_settings_that_make_no_sense():
    for about in [{}, {"class": "Nonsense"}, {"class": "CLIPPreprocess", "pixels": 3}, {"class": "CLIPPreprocess"}]:
        with pytest.raises(UserError, match="preprocess"):
            preprocess_from_dict(about)
    for crop_pct, interpolation in [(0.9, "random"), (0.0, "bicubic"), (4.1, "bicubic"), (float("nan"), "bicubic")]:
        with pytest.raises(UserError, match="is none that timm has"):
            TimmPreprocess(32, crop_pct, interpolation)
    assert TimmPreprocess(32, 4.0).crop_pct == 4
    for wrong in [{"resample": 99}, {"resample": -1}, {"rescale_factor": 0.0}, {"rescale_factor": 1.1}]:
        with pytest.raises(UserError, match="expected"):
            TransformersPreprocess(32, **wrong)
    for right in [{"resample": 0}, {"resample": 5}, {"rescale_factor": 1.0}]:
        assert TransformersPreprocess(32, **right)
    for config, word in [
        ({"image_processor_type": "SamImageProcessor"}, "describes .SamImageProcessor"),
        ({"image_processor_type": "ViTImageProcessor", "do_pad": True}, "without padding"),
        ({"crop_size": 224, "size": {"longest_edge": 3}}, "expected shortest_edge"),
        ({"crop_size": 224, "size": "big"}, "size in preprocessor_config.json is"),
        ({"crop_size": 224, "image_mean": [0.5]}, "expected a list of 3 numbers"),
    ]:
        with pytest.raises(UserError, match=word):
            TransformersPreprocess.from_config(config, usual="CLIP")


@pytest.mark.parametrize("kind", [CLIPPreprocess, TimmPreprocess, TransformersPreprocess, PaddedPreprocess,
                                  TensorPreprocess, SquashPreprocess])  # fmt: skip
def test_numbers_that_make_no_picture(kind):
    """Of every preprocess alike: sizes, three means, three deviations above 0, all of them numbers."""
    for wrong in [
        {"size": 0}, {"size": 8193}, {"mean": (0.5,)}, {"std": (0.5, 0.0, 0.5)}, {"std": (0.5, 0.5)},
        {"std": (0.5, -0.1, 0.5)}, {"mean": (0.1, float("nan"), 1.0)}, {"std": (0.5, float("nan"), 0.5)},
        {"std": (0.5, 0.5, float("inf"))}, {"mean": (0.1, 0.1, -float("inf"))}, {"std": (1e-7, 1.0, 1.0)},
        {"mean": (0.0, 0.0, 1.1e6)}, {"mean": (0.0, 0.0, -1.1e6)}, {"std": (1.1e6, 1.0, 1.0)},
    ]:  # fmt: skip
        with pytest.raises(UserError, match="expected"):
            kind(**{"size": 32} | wrong)
    for right in [{"size": 1}, {"size": 8192}, {"mean": (-1e6, 0.0, 1e6)}, {"std": (1e-6, 1.0, 1e6)}]:
        assert kind(**{"size": 32} | right)


ODD = [None, True, -1, 0, 3, 10**30, 1.5, float("nan"), float("inf"), "", "text", [], [1], [1, 2, 3], {}, {"height": 3},
       {"shortest_edge": "x"}, {"shortest_edge": 0}, {"height": 2.5, "width": 3}, [[1]]]  # fmt: skip


@pytest.mark.parametrize("kind", ["CLIPImageProcessor", "ViTImageProcessor"])
def test_configs_with_odd_values_are_a_preprocess_or_one_line(kind):
    whole = {
        "image_processor_type": kind,
        "crop_size": 20,
        **TRANSFORMERS_DEFAULTS[kind.removesuffix("ImageProcessor")],
    }
    refused = 0
    for key in [*whole, "do_pad", "feature_extractor_type"]:
        for value in ODD:
            try:
                made = TransformersPreprocess.from_config({**whole, key: value})
            except UserError:
                refused += 1
            else:
                assert made(picture("RGB", 30, 50)).isfinite().all(), (key, value)
    assert refused > 100


@pytest.mark.parametrize("kind", [TensorPreprocess, SquashPreprocess, PaddedPreprocess])
@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_other_modes_become_rgb(kind, mode):
    image = picture(mode, 30, 40)
    assert torch.equal(kind(20)(image), kind(20)(image.convert("RGB")))


@pytest.mark.parametrize("antialias", [True, False])
def test_the_tensor_is_resized_as_torchvision_does(antialias):
    """Smoothed where nobody says anything, as torchvision does today."""
    ours = TensorPreprocess(20) if antialias else TensorPreprocess(20, antialias=False)
    pixels = to_tensor(picture("RGB", 50, 70))
    theirs = functional.resize(pixels, [20, 20], antialias=antialias)
    expected = functional.normalize(theirs, list(ours.mean), list(ours.std))
    assert (ours(picture("RGB", 50, 70)) - expected).abs().max() < 1e-5


def test_rgb_only_where_the_reference_takes_rgb_only():
    for rgb_only in (TimmPreprocess(32), TransformersPreprocess((32, 32), convert_rgb=False)):
        with pytest.raises(UserError, match="mode 'RGBA', expected 'RGB': open it with"):
            rgb_only(picture("RGBA", 40, 40))


@pytest.mark.parametrize("size, narrow", [((1, 129), True), ((129, 1), True), ((1, 128), False), ((128, 1), False)])
def test_a_picture_too_narrow_for_the_square(size, narrow):
    """A side of half a pixel is rounded up to one, a smaller one is none."""
    if not narrow:
        assert PaddedPreprocess(64)(Image.new("RGB", size)).shape == (3, 64, 64)
        return
    with pytest.raises(UserError, match=f"too narrow: {size[0]} x {size[1]} pixels; crop it first"):
        PaddedPreprocess(64)(Image.new("RGB", size))


def test_a_picture_too_narrow_to_resize():
    with pytest.raises(UserError, match="too narrow: 60000 x 1 pixels"):
        CLIPPreprocess(224)(Image.new("RGB", (60000, 1)))


@pytest.mark.parametrize("step", ["do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"])
@pytest.mark.parametrize("kind", ["CLIP", "ViT"])
def test_a_step_that_is_null_is_left_out(kind, step):
    """As in transformers: a null is false there, and not the usual value."""
    config = {"image_processor_type": f"{kind}ImageProcessor", step: None}
    assert TransformersPreprocess.from_config(config) == TransformersPreprocess.from_config({**config, step: False})
