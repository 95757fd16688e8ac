"""What is measured of ViT."""

from minimodels.stored import models
from tests.benchmarks.inputs import filled, picture
from tests.benchmarks.measure import Run, Work


def ours_vit() -> Run:
    model, image = filled(models.build("ViT", {})), picture(224)
    return lambda: model(image)


def timm_vit() -> Run:
    import timm

    model, image = timm.create_model("vit_base_patch16_224").eval(), picture(224)
    return lambda: model(image)


def transformers_vit() -> Run:
    from transformers import ViTConfig, ViTForImageClassification

    model = ViTForImageClassification(ViTConfig(num_labels=1000, attn_implementation="sdpa")).eval()
    image = picture(224)
    return lambda: model(image).logits


WORKS = [
    Work(
        "ViT-B/16 224 px, one picture",
        {"ours": ours_vit, "timm": timm_vit, "transformers": transformers_vit},
        bar=1.05,
        rounds=15,
    ),
]
