"""CLIPSeg's files: official decoders joined with their CLIP, transformers' names, our own; and the pixels."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from checkpoints_convert import build, export
from checkpoints_convert.fetching import hub
from checkpoints_convert.load import load
from checkpoints_convert.proof.references.clipseg import TINY, TINY_REFINED
from checkpoints_convert.proof.verify import difference
from checkpoints_convert.tables import clip as clip_table
from checkpoints_convert.tables import clipseg
from minimodels.clipseg import CLIPSeg
from minimodels.errors import UserError
from minimodels.pixels.preprocess import TransformersPreprocess, preprocess_to_dict
from minimodels.pixels.preprocess_tensor import TensorPreprocess
from minimodels.stored import models
from tests.systems.clipseg.small import REFERENCE, SMALL, of_clip, pair, pictures, small, words

# ---------------------------------------------------------------- formats


def official_pair(seed: int = 0, **changes) -> tuple[dict, dict, CLIPSeg]:
    """A decoder file and a CLIP file as the official ones are, with the layers that nothing reads, and our model."""
    model = small(seed, **changes)
    arguments = {**SMALL, **changes}
    model.about = {"system": "clipseg", "class": "CLIPSeg", "arguments": arguments, "format": "official"}
    decoder, clip_tensors = clipseg.split(export(model, "official"))
    unused = {"reduce.weight": torch.zeros(12, 24).double(), "reduce.bias": torch.zeros(12).double()}
    return {**decoder, **unused}, clip_tensors, model


TOLD = {"extract_layers": (0, 1, 3), "decoder_heads": 3, "vision_heads": 3, "text_heads": 2}


def same_state(a, b) -> None:
    assert a.state_dict().keys() == b.state_dict().keys()
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[name]), name


@pytest.mark.parametrize("kernels", [None, (4, 2)])
def test_official_decoder_joined_with_its_clip_and_back(kernels):
    decoder, clip_tensors, model = official_pair(refined_kernels=kernels)
    same_state(build(clipseg.join(decoder, clip_tensors), "clipseg", **TOLD), model)
    same_state(build(decoder, "clipseg", clip=clip_tensors, **TOLD), model)
    full = clipseg.join(decoder, clip_tensors)
    aliases = {
        name.replace("visual.", "model.", 1): t for name, t in clip_tensors.items() if name.startswith("visual.")
    }
    rebuilt = build({**full, **aliases}, "clipseg", **TOLD)  # the whole official state dict names the tower twice
    same_state(rebuilt, model)
    assert clipseg.split(export(rebuilt, "official"))[0].keys() == decoder.keys() - {"reduce.weight", "reduce.bias"}


def test_official_decoder_joined_with_a_clip_of_transformers():
    decoder, clip_tensors, model = official_pair()
    clip_model = build(clip_tensors, "clip", format="open_clip", quick_gelu=True, vision_heads=3, text_heads=2)
    same_state(build(clipseg.join(decoder, export(clip_model, "transformers")), "clipseg", **TOLD), model)


@pytest.mark.parametrize("sizes", [TINY, TINY_REFINED], ids=["plain", "refined"])
def test_export_loads_strictly_in_transformers(sizes, tmp_path):
    theirs, ours = pair(sizes)
    exported = export(ours, "transformers")
    again = REFERENCE.build(**sizes).double().eval()
    again.load_state_dict(exported, strict=True)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, exported[name]), name
    image, ids = pictures(2, 64), words(2)
    with torch.no_grad():
        expected = again(input_ids=ids, pixel_values=image).logits
        assert difference(ours(image, ours.encode_text(ids)[:, None])[:, 0], expected) <= 1e-10


def test_a_folder_of_save_pretrained_loads_with_pixels_and_words_beside(tmp_path):
    theirs, _ = pair()
    theirs.float().save_pretrained(tmp_path)
    hub_processor = {
        "do_normalize": True, "do_resize": True, "feature_extractor_type": "ViTFeatureExtractor",
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 2, "size": 352,
    }  # fmt: skip
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(hub_processor))
    model = load(tmp_path)
    assert model.about["arguments"]["extract_layers"] == (0, 1, 2)
    assert model.about["arguments"]["decoder_heads"] == 3
    assert model.preprocess(Image.new("RGB", (31, 7), "red")).shape == (3, 352, 352)
    image, ids = pictures(1, 36), words(1)
    with torch.no_grad():
        expected = theirs.double()(input_ids=ids, pixel_values=image).logits
        assert difference(model.double()(image, model.encode_text(ids)[:, None])[:, 0], expected) <= 1e-10


def test_older_files_with_counters_convert():
    theirs, ours = pair()
    counters = {
        "clip.text_model.embeddings.position_ids": torch.arange(9)[None],
        "clip.vision_model.embeddings.position_ids": torch.arange(37)[None],
    }
    same_state(REFERENCE.convert({**theirs.state_dict(), **counters}, TINY), ours)


def test_our_own_file_keeps_everything(tmp_path):
    model = small(refined_kernels=(4, 2)).float()
    about = {"class": "CLIPSeg", "system": "clipseg", "arguments": {**SMALL, "refined_kernels": (4, 2)}}
    about["preprocess"] = preprocess_to_dict(TensorPreprocess(32, antialias=False))
    models.save(tmp_path / "m.safetensors", model, about)
    again = models.open_file(tmp_path / "m.safetensors")
    same_state(again, model)
    assert again.preprocess == TensorPreprocess(32, antialias=False)
    image, prompt = pictures(1, 40), torch.randn(1, 2, 20, dtype=torch.float64)
    assert difference(again.double()(image, prompt), model.double().eval()(image, prompt)) <= 1e-10


# ---------------------------------------------------------------- pixels

PICTURES = [(352, 352), (64, 48), (500, 333), (3, 3), (1, 40), (1023, 7)]


def noise_picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.RandomState(width).randint(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", PICTURES)
def test_pixels_equal_the_hub_processors(size):
    from transformers import ViTImageProcessorPil

    numbers = {"size": {"height": 352, "width": 352}, "resample": 2, "image_mean": [0.485, 0.456, 0.406]}
    numbers["image_std"] = [0.229, 0.224, 0.225]
    theirs = ViTImageProcessorPil(**numbers)(noise_picture(*size), return_tensors="pt")["pixel_values"][0]
    ours = TransformersPreprocess.from_config({"image_processor_type": "ViTImageProcessor", **numbers})
    assert torch.equal(ours(noise_picture(*size)), theirs)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", PICTURES)
def test_pixels_equal_the_official_order(size, antialias):
    from torchvision import transforms

    theirs = transforms.Compose(
        [
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
            transforms.Resize((352, 352), antialias=antialias),
        ]
    )
    preprocess = models.preprocess_from_dict(
        json.loads(json.dumps(preprocess_to_dict(TensorPreprocess(352, antialias))))
    )
    # Resized in float32: two axes, at most 7 terms each, so 16 roundings of 6e-8 of numbers up to 2.7.
    assert difference(preprocess(noise_picture(*size)), theirs(noise_picture(*size))) <= 3e-6


# ---------------------------------------------------------------- bad files


def test_decoder_without_or_with_the_wrong_clip():
    decoder, clip_tensors, _ = official_pair()
    with pytest.raises(UserError, match="decoder alone.*ViT-B/16.*--tell clip=FILE"):
        build(decoder, "clipseg", **TOLD)
    wrong = {
        "patch": of_clip(patch_size=16), "width": of_clip(vision_width=48), "embedding": of_clip(embed_dim=24),
    }  # fmt: skip
    sides = {
        "patch": "patches of 8; this CLIP has .*patches of 16.*ViT-B/16",
        "width": "a tower of width 24, .*this CLIP has .* a tower of width 48",
        "embedding": "embeddings of 20, .*this CLIP has embeddings of 24",
    }
    for name, clip in wrong.items():
        other = official_pair(clip=clip)[1]
        with pytest.raises(UserError, match=f"do not belong together.*{sides[name]}"):
            build(clipseg.join(decoder, other), "clipseg", **TOLD)
    shallow = official_pair(clip=of_clip(vision_depth=3), extract_layers=(0, 1, 2))[1]
    with pytest.raises(UserError, match=r"extract_layers \(0, 1, 3\) .* the image tower has 3 blocks"):
        build(clipseg.join(decoder, shallow), "clipseg", **TOLD)
    with pytest.raises(UserError, match="no CLIPSeg decoder"):
        clipseg.join(clip_tensors, decoder)
    with pytest.raises(UserError, match="names 2"):
        build(clipseg.join(decoder, clip_tensors), "clipseg", **{**TOLD, "extract_layers": (1, 2)})


def test_decoder_joined_with_a_resnet():
    decoder, _, _ = official_pair()
    empty = models.build("CLIPResNet", {"vision_width": 64, "vision_depths": (1, 1, 1, 1)})
    resnet = clip_table.SYSTEM.formats["open_clip_resnet"].table.export(empty.state_dict())
    with pytest.raises(UserError, match="ViT tower .*this CLIP has a ResNet"):
        clipseg.join(decoder, resnet)


def test_a_damaged_decoder_is_told_whole():
    decoder, clip_tensors, _ = official_pair()
    del decoder["blocks.1.norm1.bias"]
    decoder["blocks.7.surprise"] = torch.zeros(2)
    with pytest.raises(
        UserError, match="unknown name in the checkpoint: blocks.7.surprise.*missing: our decoder.blocks.1"
    ):
        build(clipseg.join(decoder, clip_tensors), "clipseg", **TOLD)


# ---------------------------------------------------------------- by name and by file


def write_pair(folder, decoder, clip_tensors) -> tuple:
    paths = folder / "decoder.pth", folder / "clip.pth"
    for path, tensors in zip(paths, (decoder, clip_tensors)):
        torch.save({name: tensor.float() for name, tensor in tensors.items()}, path)
    return paths


def test_an_official_file_and_its_clip_by_path(tmp_path):
    decoder, clip_tensors, model = official_pair()
    decoder_path, clip_path = write_pair(tmp_path, decoder, clip_tensors)
    loaded = load(decoder_path, clip=str(clip_path), **TOLD)
    same_state(loaded, model.float())
    assert loaded.preprocess == TensorPreprocess(352)
    with pytest.raises(UserError, match="texts cannot be read: it knows 60 ids, .* 49,408"):
        loaded.tokenize(["a cat"])
    with pytest.raises(UserError, match="decoder alone.*clip='ViT-B/16'"):
        load(decoder_path, **TOLD)
    with pytest.raises(UserError, match="clip cannot be told 'clip'"):
        load(clip_path, clip=str(decoder_path))


def test_an_official_name_brings_its_clip(tmp_path, monkeypatch):
    decoder, clip_tensors, model = official_pair()
    files = dict(zip(("rd64-uni", "ViT-B/16"), write_pair(tmp_path, decoder, clip_tensors)))
    monkeypatch.setattr(hub, "fetch", lambda entry: [files[entry.name]])
    same_state(load("rd64-uni.pth", **TOLD), model.float())


def test_the_catalogue_tells_where_clipseg_is():
    for name in ("CIDAS/clipseg-rd64-refined", "CIDAS/clipseg-rd64", "CIDAS/clipseg-rd16"):
        assert hub.find(name).system == "clipseg" and f"/{name}/tree/" in hub.page(hub.find(name))
    for name in ("rd64-uni", "rd64-uni-refined", "rd16-uni"):
        entry = hub.find(f"{name}.pth")
        assert entry.name == name and entry.clip == "ViT-B/16" and hub.by_hand(entry).name == "clipseg"
        assert (
            hub.page(entry)
            == f"https://owncloud.gwdg.de/index.php/s/ioHbRzFx6th32hn/download?path=%2F&files={name}.pth"
        )
