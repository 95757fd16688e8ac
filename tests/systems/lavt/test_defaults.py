"""LAVT's numbers, as the released Swin-B has them: one head a stage, half of its last channels in the decoder."""

import json

from minimodels.bert import BERT
from minimodels.lavt import CLASSES, LAVT, PWAM
from minimodels.swin import SwinBackbone
from tests.systems.defaults import defaults, empty, epsilons, parameters


def test_defaults():
    assert defaults(LAVT) == {"fusion_heads": (1, 1, 1, 1), "decoder_dim": None}
    assert defaults(PWAM) == {"num_heads": 1} and CLASSES == 2


def test_they_are_the_released_model(root):
    """As many parameters as the official files hold; a decoder of 4 embed_dim channels."""
    official = json.loads((root / "tests/golden/lavt/base_keys/config.json").read_text())
    swin = official["swin"]
    numbers = {name: swin[name] for name in ("embed_dim", "depths", "num_heads", "window_size")}
    model = empty(lambda: LAVT(SwinBackbone(**numbers), BERT()))
    assert tuple(swin["mha"]) == (1, 1, 1, 1) == tuple(fusion.num_heads for fusion in model.fusions)
    assert model.steps[0].conv1.out_channels == 4 * swin["embed_dim"] and model.head.out_channels == 2
    assert epsilons(model) == {1e-5, 1e-12} and epsilons(model.bert) == {1e-12}
    expected = official["info"]["keys.json"]["parameters"] + official["info"]["keys.bert_model.json"]["parameters"]
    assert parameters(model) == expected
