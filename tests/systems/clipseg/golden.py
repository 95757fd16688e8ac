"""CLIPSeg's golden cases: timojl/clipseg's model with openai/CLIP, the released decoders' keys, picture prompts."""

import re
from typing import Any

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from checkpoints_convert import build
from checkpoints_convert.tables import clip as clip_table
from minimodels import picture_prompts as prompts
from minimodels.clipseg import CLIPSeg
from minimodels.errors import UserError
from minimodels.pixels.preprocess_tensor import TensorPreprocess
from minimodels.stored import models
from tests.golden import Case, Line, thin


def told(case: Case) -> dict[str, Any]:
    """What the decoder's shapes do not tell."""
    model, heads = case.config["model"], case.config.get("heads", {})
    towers = {f"{tower}_heads": heads[tower] for tower in ("vision", "text") if tower in heads}
    return {"extract_layers": tuple(model["extract_layers"]), "decoder_heads": model["n_heads"], **towers}


# ---------------------------------------------------------------- the model


def run_model(case: Case, device: torch.device) -> list[Line]:
    """Text, picture and mixed prompts, what the decoder reads and its blocks, native size, masked attention."""
    model: Any = build(case.checkpoint(), "clipseg", clip=case.checkpoint("clip.keys.json"), **told(case)).to(device)

    def given(name: str) -> Tensor:
        return case.tensor(f"in.{name}", torch.float64).to(device)

    image, support = given("image"), given("support")
    by_text, by_picture = model.encode_text(given("tokens").long()), model.encode_image(support)
    mixed = prompts.mix(by_text, by_picture, case.config["text_weight"])
    computed = {f"out.text.{name}": tensor for name, tensor in observe(model, image, by_text).items()}
    computed |= {"out.text_one.logits": model(image, by_text[None, :1])}
    for name, prompt in (("image", by_picture), ("mix", mixed)):
        computed |= {f"out.{name}.logits": model(image, prompt[:, None]), f"out.{name}.cond": prompt}
    if "in.native" in case.arrays:
        native = given("native")
        computed["out.native.logits"] = model(native, by_text[None, :1])
        computed["out.native.visual_q"] = model.encode_image(native)
    if "in.support_mask" in case.arrays:
        computed |= masked(model, support, given("support_mask"))
    return case.judge({name: stored_part(case, name, tensor) for name, tensor in computed.items()})


def stored_part(case: Case, name: str, tensor: Tensor) -> Tensor:
    """Stored are every 16th channel of the activations, every second row and column of the native logits."""
    if name not in case.arrays or not re.match(r"out\.(text\.act|native\.logits)", name):
        return tensor
    return thin(tensor, case.arrays[name].shape, "every so many")


def observe(model: CLIPSeg, image: Tensor, prompt: Tensor) -> dict[str, Tensor]:
    """Logits, prompt, embedding, activations and decoder blocks, by the case's names.

    The official `act0` is the first block of the tower, captured whatever the decoder reads.
    """
    seen: dict[str, Tensor] = {}
    modules: dict[str, Any] = {f"block{i}": block for i, block in enumerate(model.decoder.blocks)}
    modules["act0"] = model.clip.image_tower.blocks[0]
    hooks = [
        module.register_forward_hook(lambda module, given, output, name=name: seen.__setitem__(name, output))
        for name, module in modules.items()
    ]
    activations = model.encode(image)
    logits = model.decode(activations, prompt[:, None])  # one prompt an image: the official channel
    for hook in hooks:
        hook.remove()
    read = {f"act{i + 1}": activation for i, activation in enumerate(activations)}
    return {**seen, **read, "logits": logits, "cond": prompt, "visual_q": model.encode_image(image)}


def masked(model: CLIPSeg, support: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """The masked attention variants, of one picture; and the official way to mix up the masks of several."""
    one, its_mask, last = support[:1], mask[:1], len(model.clip.image_tower.blocks) - 1
    return {
        "out.masked.cls_all": prompts.encode_masked_class(model, one, its_mask),
        "out.masked.cls_last": prompts.encode_masked_class(model, one, its_mask, layers=[last]),
        "out.masked.all_all": prompts.encode_masked_patches(model, one, its_mask),
        "out.masked.cls_all_batch": mixed_up(model, support, mask),
    }


def mixed_up(model: CLIPSeg, support: Tensor, mask: Tensor) -> Tensor:
    """The official bug: the masks are tiled as (head, picture) where the scores lie as (picture, head).

    So head h of picture b gets the mask of picture (b heads + h) mod B.
    """
    seen = prompts.mask_tokens(model, support, mask)[:, 0, 0]  # (B, N)
    heads = model.clip.image_tower.blocks[0].attn.num_heads
    tiled = rearrange(seen.repeat(heads, 1), "(b heads) n -> b heads n", heads=heads)  # (B, heads, N)
    scale = seen.new_ones(len(seen), heads, seen.shape[1], seen.shape[1])  # (B, heads, N, N)
    scale[:, :, 0] = tiled
    return prompts.encode_scaled(model, support, scale)


# ---------------------------------------------------------------- the released decoders' key lists


def run_keys(case: Case, device: torch.device) -> list[Line]:
    """The converter takes every official name, and all numbers are there. The CLIP beside it is an empty one."""
    decoder = case.empty_checkpoint()
    sizes = {"patch_size": int(case.config["model"]["version"].rsplit("/", 1)[1])}
    vit = clip_table.SYSTEM.formats["openai"].table.export(models.build("CLIP", sizes).state_dict())
    try:
        model: Any = build(decoder, "clipseg", clip=vit, **told(case))
    except UserError as error:
        return [Line("names", False, str(error))]
    ours = model.decoder.state_dict()
    unused = sum(decoder[name].numel() for name in ("reduce.weight", "reduce.bias") if name in decoder)
    count, wanted = sum(tensor.numel() for tensor in ours.values()) + unused, case.config["parameters"]
    lines = [
        Line("names", True, f"{len(decoder)} official names become our {len(ours)} tensors of the decoder"),
        Line(
            "parameters", count == wanted, f"ours {count:,} ({unused:,} of them read by nothing), official {wanted:,}"
        ),
    ]
    official, arguments = case.config["model"], model.about["arguments"]
    for theirs, name in (("reduce_dim", "reduce_dim"), ("n_heads", "decoder_heads")):
        lines.append(
            Line(name, arguments[name] == official[theirs], f"ours {arguments[name]}, official {official[theirs]}")
        )
    refined = arguments["refined_kernels"] is not None
    wanted_refined = official.get("complex_trans_conv", False)
    lines.append(Line("refined head", refined == wanted_refined, f"ours {refined}, official {wanted_refined}"))
    return lines


# ---------------------------------------------------------------- picture prompts

# The mode -> the options of the official img_preprocess, and what is subtracted behind it.
BLENDS: dict[str, tuple[dict[str, Any], float]] = {
    "blur_highlight": ({"blur": 1, "bg_fac": 0.5}, 0.01),
    "blur3_highlight": ({"blur": 3, "bg_fac": 0.5}, 0.01),
    "blur3_highlight01": ({"blur": 3, "bg_fac": 0.1}, 0.01),
    "crop": ({"blur": 1, "center_context": 0.1}, 0.0),
    "crop_blur_highlight": ({"blur": 3, "center_context": 0.1, "bg_fac": 0.1}, 0.0),
    "crop_blur_highlight352": ({"blur": 3, "center_context": 0.1, "bg_fac": 0.1, "size": 352}, 0.0),
}


def run_visual_prompt(case: Case, device: torch.device) -> list[Line]:
    """Every call and every blend mode of the case, the boxes, and the quick start's pixels."""
    image, mask = case.tensor("in.image").to(device), case.tensor("in.mask").to(device)
    size = case.config["crop_size"]
    computed: dict[str, Any] = {}
    for name, options in case.config["calls"].items():
        computed[f"out.call.{name}"] = changed(image, mask, **{"size": size, **options})
    for mode in case.config["blend_modes"]:
        computed |= blended(image, mask, mode, size)
    for percent in (int(found[1]) for found in case.numbered(r"out\.bbox_ctx(\d+)")):
        computed[f"out.bbox_ctx{percent}"] = torch.tensor(prompts.mask_box(mask, percent / 100))
    for name in case.numbered(r"f64\.(.+)"):
        computed[name[0]] = changed(image.double(), mask, **{"size": size, **case.config["calls"][name[1]]})
    picture = Image.fromarray(case.tensor("in.uint8").numpy())
    computed["out.quickstart"] = TensorPreprocess(size)(picture)
    computed["out.quickstart_no_antialias"] = TensorPreprocess(size, antialias=False)(picture)
    return case.judge(computed)


def changed(image: Tensor, mask: Tensor, *, size: int = 224, **options: Any) -> Tensor:
    """The official img_preprocess by our functions, its options in its order (here nothing is changed in place)."""
    image = image * options.get("brightness", 1.0)
    blur, background = float(options.get("blur", 0)), float(options.get("bg_fac", 1))
    found = prompts.highlight(image, mask, blur=blur, background=background)
    if options.get("grayscale"):  # the background's green channel in all three
        behind = prompts.gaussian_blur(image, blur) if blur else image
        found = image * mask + background * behind[1] * (1 - mask)
    if options.get("rect"):
        found = rectangle(found, mask)
    if options.get("center_context") is not None:
        found = prompts.crop_to_mask(found, mask, size=size, context=float(options["center_context"]))
    if options.get("colorize"):
        found = prompts.tint(image, mask, background=background)
    return prompts.outline(found, mask) if options.get("outline") else found


def rectangle(image: Tensor, mask: Tensor, width: int = 2) -> Tensor:
    """The official frame around the object: 255, 0, 0 drawn into normalised numbers, which is no red."""
    image, colour = image.clone(), torch.tensor([255.0, 0, 0]).to(image)[:, None, None]
    left, right, top, bottom = prompts.mask_box(mask, 0.1)
    for x in (left, right):
        image[:, top:bottom, max(0, x - width) : x + width] = colour
    for y in (top, bottom):
        image[:, max(0, y - 1) : y + width, left:right] = colour
    return image


def blended(image: Tensor, mask: Tensor, mode: str, size: int) -> dict[str, Tensor]:
    """The official blend_image_segmentation."""
    if mode in BLENDS:
        options, less = BLENDS[mode]
        return {f"out.blend.{mode}": changed(image, mask, **{"size": size, **options}) - less}
    plain = {
        "overlay": image * mask,
        "highlight": 0.85 * image * mask + 0.15 * image,
        "highlight2": (image / 2 + 0.1) * mask + 0.15 * image,
        "shape": mask.expand(3, -1, -1),
        "concat": torch.cat([image, mask[None]]),
        "image_black": image * 0,
    }
    found = {f"out.blend.{mode}": plain.get(mode, image)}
    return {**found, "out.blend.separate.mask": mask.long()} if mode == "separate" else found


KINDS = {"model": run_model, "keys": run_keys, "visual_prompt": run_visual_prompt}
