"""A preprocessor_config.json that names no processor: transformers takes the one of the model, and so do we."""

import pytest
import torch
import transformers
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

from checkpoints_convert.tables import SYSTEMS
from minimodels.errors.untrusted import Settings
from minimodels.stored import models
from tests.benchmarks.pixels import picture

READ = ("clip", "clipseg", "dinov2", "swin", "vit")
SIDES = {"height": 21, "width": 17}
CONFIGS = [
    {},
    {"a": 1},
    {"crop_size": 18},
    {"size": SIDES},
    {"size": SIDES, "crop_size": 18},
    {"size": SIDES, "do_center_crop": True, "crop_size": 18},
    {"image_mean": [0.1, 0.2, 0.3]},
]


def test_all_systems_with_such_a_config_are_tried():
    known = {name for name, system in SYSTEMS.items() if any("transformers" in one for one in system.formats)}
    assert known & IMAGE_PROCESSOR_MAPPING_NAMES.keys() - {"sam"} == set(READ)  # SAM has a processor of its own


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("system", READ)
def test_the_processor_of_the_model(system, config):
    arguments = {"image_size": (24, 24) if system != "clip" else 24, "vocab_size": 49408, "context_length": 77}
    arguments["clip"] = {"arguments": dict(arguments)}
    beside = Settings({"preprocessor_config": config}, "beside")
    about = SYSTEMS[system].surroundings(arguments, "transformers", beside)
    ours = models.preprocess_from_dict(about["preprocess"])
    theirs = getattr(transformers, IMAGE_PROCESSOR_MAPPING_NAMES[system]["pil"]).from_dict(config)
    image = picture("RGB", 50, 33)
    assert torch.equal(ours(image), torch.as_tensor(theirs(image)["pixel_values"][0]))
