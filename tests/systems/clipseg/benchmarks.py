"""What is measured of CLIPSeg."""

from minimodels.clip import trim
from minimodels.stored import models
from tests.benchmarks.inputs import captions, filled, picture
from tests.benchmarks.measure import Run, Work
from tests.systems.clip.benchmarks import B16


def clipseg_builders(prompts: int) -> dict:
    """CLIPSeg rd64 at 352 pixels, from one picture and so many texts to mask logits: ours encodes the picture once,
    transformers takes a copy of it a text."""
    image, ids = picture(352), captions(prompts)

    def ours() -> Run:
        model = filled(models.build("CLIPSeg", {"clip": {"class": "CLIP", "arguments": B16}}))
        return lambda: model(image, model.encode_text(trim(ids))[None])

    def transformers() -> Run:
        from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

        vision = {"patch_size": 16, "image_size": 224}
        config = CLIPSegConfig(vision_config=vision, use_complex_transposed_convolution=False)
        config._attn_implementation = "sdpa"
        model, copies = CLIPSegForImageSegmentation(config).eval(), image.expand(prompts, -1, -1, -1)
        return lambda: model(input_ids=ids, pixel_values=copies, interpolate_pos_encoding=True).logits

    return {"ours": ours, "transformers": transformers}


WORKS = [
    Work("CLIPSeg rd64 352 px, one prompt", clipseg_builders(1), bar=0.85),
    Work("CLIPSeg rd64 352 px, ten prompts on one picture", clipseg_builders(10), bar=0.25, rounds=3),
]
