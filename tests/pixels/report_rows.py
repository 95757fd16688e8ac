"""Rows of the parity report: pictures of fifteen modes and nine odd sizes, prepared for CLIP as the libraries do."""

from minimodels.pixels.preprocess import CLIPPreprocess, TransformersPreprocess
from tests.pixels import test_preprocess as tests

SIZES = (32, 41)


def what(pictures: list) -> str:
    return f"{len(pictures)} pictures of {len(tests.MODES)} modes, odd sizes"


def torchvision() -> tuple[list[str], str]:
    """Against torchvision's transform, as OpenAI's code puts it together: every float32 number equal."""
    pictures, wrong = tests.noise(), []
    for size in SIZES:
        wrong += tests.differing(CLIPPreprocess(size), tests.official_transform(size), pictures)
    return wrong, what(pictures)


def transformers() -> tuple[list[str], str]:
    """Against transformers' image processor with PIL: every float32 number equal."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    pictures, wrong = tests.noise(), []
    for size in SIZES:
        reference = tests.processed(CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=size))
        wrong += tests.differing(TransformersPreprocess(size, (size, size)), reference, pictures)
    return wrong, what(pictures)


ROWS = [("preprocess", "torchvision", torchvision, None), ("preprocess", "transformers", transformers, None)]
