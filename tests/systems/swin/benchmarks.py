"""What is measured of Swin."""

from tests.benchmarks.inputs import picture
from tests.benchmarks.measure import Run, Work

SWIN_B = {"embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)}


def ours_swin() -> Run:
    from minimodels.swin import Swin

    model, image = Swin(**SWIN_B).eval(), picture(224)  # not `filled`: the index of its bias tables is no weight
    return lambda: model(image)


def timm_swin() -> Run:
    import timm

    model, image = timm.create_model("swin_base_patch4_window7_224").eval(), picture(224)
    return lambda: model(image)


def transformers_swin() -> Run:
    from transformers import SwinConfig, SwinForImageClassification

    model = SwinForImageClassification(SwinConfig(**SWIN_B, num_labels=1000, attn_implementation="sdpa")).eval()
    image = picture(224)
    return lambda: model(image).logits


WORKS = [
    Work(
        "Swin-B 224 px, one picture",
        {"ours": ours_swin, "timm": timm_swin, "transformers": transformers_swin},
        bar=1.05,
        rounds=15,
    ),
]
