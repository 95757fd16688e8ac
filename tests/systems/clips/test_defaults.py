"""`CLIPS()` is ViT-L-14-CLIPS-224: the numbers of the repository's config; CLIPA's differ in three of them."""

import open_clip
from torch import nn

from checkpoints_convert.proof.references.clips import REFERENCES
from minimodels.clips import CLIPS, LastTokenTower, MeanPooledTower
from tests.systems.defaults import defaults, empty, epsilons, parameters


def test_defaults():
    assert defaults(CLIPS) == {
        "embed_dim": 768,
        "image_size": 224,
        "patch_size": 14,
        "vision_width": 1024,
        "vision_depth": 24,
        "vision_heads": 16,
        "vision_mlp_dim": 4096,
        "text_width": 768,
        "text_depth": 12,
        "text_heads": 12,
        "text_mlp_dim": 3072,
        "context_length": 80,
        "vocab_size": 32000,
        "norm_eps": 1e-6,
        "tanh_gelu": True,
    }
    assert defaults(MeanPooledTower) == defaults(LastTokenTower) == {}


def test_they_are_the_model_that_open_clip_builds():
    sizes = REFERENCES[0].official["UCSC-VLAA/ViT-L-14-CLIPS-224-Recap-DataComp-1B"]
    theirs = empty(open_clip.CLIP, 768, sizes["vision_cfg"], sizes["text_cfg"])
    ours = empty(CLIPS)
    assert parameters(ours) == parameters(theirs) == 414_247_425
    assert epsilons(ours) == epsilons(theirs) == {1e-6}
    for tower, other in ((ours.text_tower, theirs.transformer), (ours.image_tower, theirs.visual.transformer)):
        for block, reference in zip(tower.blocks, other.resblocks, strict=True):
            assert block.attn.num_heads == reference.attn.num_heads
            assert block.mlp.activation.approximate == reference.mlp.gelu.approximate


def test_clipa_by_the_same_class():
    told = {"norm_eps": 1e-5, "tanh_gelu": False, "context_length": 32}
    ours, theirs = empty(CLIPS, **told), empty(open_clip.CLIP, **open_clip.get_model_config("ViT-L-14-CLIPA"))
    assert parameters(ours) == parameters(theirs) and epsilons(ours) == epsilons(theirs) == {1e-5}
    activations = {block.mlp.activation for tower in (ours.text_tower, ours.image_tower) for block in tower.blocks}
    assert all(isinstance(one, nn.GELU) and one.approximate == "none" for one in activations)
