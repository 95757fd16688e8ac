"""What is measured of SAM."""

from minimodels.stored import models
from tests.benchmarks.inputs import filled, picture
from tests.benchmarks.measure import Run, Work


def sam_builders() -> dict:
    """SAM ViT-B's image encoder at its 1,024 pixels: 4,096 tokens, windows of 14 and four global blocks."""
    image = picture(1024)

    def ours() -> Run:
        model = filled(models.build("SAM", {}))
        return lambda: model.encode(image)

    def timm() -> Run:
        import timm

        model = timm.create_model("samvit_base_patch16", num_classes=0).eval()
        return lambda: model.forward_features(image)

    def transformers() -> Run:
        from transformers import SamVisionConfig, SamVisionModel

        model = SamVisionModel(SamVisionConfig(attn_implementation="sdpa")).eval()
        return lambda: model(image).last_hidden_state

    return {"ours": ours, "timm": timm, "transformers": transformers}


WORKS = [
    Work("SAM ViT-B image encoder 1024 px, one picture", sam_builders(), bar=1.05, rounds=3),
]
