"""CLIPSeg: texts, a picture that shows what is meant, or a mix of the two (lessons 4.1 and 4.3)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from minimodels import picture_prompts
from minimodels.clip import trim
from minimodels.clipseg import CLIPSeg
from minimodels.segmenters import Answer, Kind, Prompts, Reference, Segmenter, read_pixels, to_picture_size
from minimodels.terminal import door
from minimodels.words.templates import sticker_model


@torch.no_grad()
def segment(model: CLIPSeg, picture: Image.Image, prompts: Prompts) -> Answer:
    """Every prompt's logits; the picture is encoded once.

    Raises:
        UserError: an empty text.
    """
    names, vectors = make_prompts(model, prompts)
    logits = model.decode(model.encode(read_pixels(model, picture)), vectors[None])[0]  # (P, S, S)
    return Answer(names, to_picture_size(logits, picture))


def make_prompts(model: CLIPSeg, prompts: Prompts) -> tuple[list[str], Float[Tensor, "prompts embed_dim"]]:
    """Names and vectors (P, E): the texts, the picture behind them, or the mix of both."""
    names: list[str] = []
    vectors: list[Tensor] = []
    if prompts.texts:
        names = door.check_texts(prompts.texts, "text", model)
        ids = model.tokenize(names, truncate=True)  # type: ignore[operator]
        vectors.append(model.encode_text(trim(ids).to(next(model.parameters()).device)))
    if prompts.reference is not None:
        picture, name = picture_vector(model, prompts.reference), f"like {prompts.reference.name}"
        if prompts.mix is not None:
            mixed = picture_prompts.mix(vectors[0], picture, prompts.mix)
            return [f"{names[0]} ({prompts.mix:g}) + {name} ({1 - prompts.mix:g})"], mixed
        names, vectors = [*names, name], [*vectors, picture]
    return names, torch.cat(vectors)


def picture_vector(model: CLIPSeg, reference: Reference) -> Float[Tensor, "1 embed_dim"]:
    """A prompt from a picture and a mask, as the model was trained with them."""
    pixels = model.preprocess(reference.picture)[None]  # type: ignore[operator]  # (1, 3, S, S)
    if reference.mask is not None:
        mask = reference.mask[None].float()  # (1, H, W)
        small = F.adaptive_max_pool2d(mask, pixels.shape[-1]) > 0  # (1, S, S), nothing gets lost
        pixels = cut_out(pixels, small, stickers=sticker_model(model))
    return model.encode_image(pixels.to(next(model.parameters())))


def cut_out(
    pixels: Float[Tensor, "batch 3 size size"], mask: Bool[Tensor, "batch size size"], *, stickers: bool
) -> Float[Tensor, "batch 3 size size"]:
    """The prompt picture: blurred, darkened and cut as the released models learned it (crop_blur_highlight352), or, for
    the tiny model, on plain grey and at half the width, as big as stickers get."""
    blur, background, context = (0.0, 0.0, 0.5) if stickers else (3.0, 0.1, 0.1)
    shown = picture_prompts.highlight(pixels, mask, blur=blur, background=background)
    return picture_prompts.crop_to_mask(shown, mask, size=pixels.shape[-1], context=context)


SEGMENTER = Segmenter(
    model=CLIPSeg,
    takes={Kind.TEXTS: "texts", Kind.PICTURE: "a prompt picture"},
    segment=segment,
    embedded="tiny-clipseg",
    official="CIDAS/clipseg-rd64-refined",
    size="600 MB",
)
