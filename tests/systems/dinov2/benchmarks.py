"""What is measured of DINOv2."""

from minimodels.stored import models
from tests.benchmarks.inputs import filled, picture
from tests.benchmarks.measure import Run, Work


def dinov2_builders() -> dict:
    """DINOv2 ViT-L/14 at 518 pixels, the size it was trained at: 1,370 tokens."""
    image = picture(518)

    def ours() -> Run:
        model = filled(models.build("DINOv2", {}))
        return lambda: model(image)

    def timm() -> Run:
        import timm

        model = timm.create_model("vit_large_patch14_dinov2").eval()
        return lambda: model(image)

    def transformers() -> Run:
        from transformers import Dinov2Config, Dinov2Model

        numbers = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 518}
        model = Dinov2Model(Dinov2Config(attn_implementation="sdpa", **numbers)).eval()
        return lambda: model(image).pooler_output

    return {"ours": ours, "timm": timm, "transformers": transformers}


WORKS = [
    Work("DINOv2 ViT-L/14 518 px, one picture", dinov2_builders(), bar=1.05, rounds=3),
]
