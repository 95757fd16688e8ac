"""CLIPSeg beside transformers."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints_convert.proof.references import Outputs, Reference, Sizes, Trial, clip, pretrained, random_image

TEXT_WEIGHT = 0.3


def build_transformers(*, vision: Sizes, text: Sizes, embed_dim: int = 512, **sizes: Any) -> nn.Module:
    """transformers' CLIPSegForImageSegmentation; `vision` and `text` are the configs of its CLIP."""
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    config = CLIPSegConfig(
        vision_config=dict(vision),
        text_config={"bos_token_id": 0, "eos_token_id": text.get("vocab_size", 49408) - 1, "pad_token_id": 0, **text},
        projection_dim=embed_dim,
        attn_implementation="sdpa",
        **sizes,
    )
    return CLIPSegForImageSegmentation(config)


def told(sizes: Sizes) -> dict[str, Any]:
    """What shapes do not tell."""
    return {
        "quick_gelu": sizes["vision"].get("hidden_act", "quick_gelu") == "quick_gelu",
        "vision_heads": sizes["vision"].get("num_attention_heads", 12),
        "text_heads": sizes["text"].get("num_attention_heads", 8),
        "extract_layers": tuple(sizes.get("extract_layers", (3, 6, 9))),
        "decoder_heads": sizes.get("decoder_num_attention_heads", 4),
    }


def sizes(arguments: Mapping[str, Any]) -> Sizes | None:
    """transformers' words for the arguments of ours; the kernels of its refined head fit patches of 16 alone."""
    kernels = arguments["refined_kernels"]
    if kernels is not None and tuple(kernels) != (4, 4):
        return None
    told = {
        "extract_layers": tuple(arguments["extract_layers"]),
        "reduce_dim": arguments["reduce_dim"],
        "decoder_num_attention_heads": arguments["decoder_heads"],
        "decoder_intermediate_size": arguments["decoder_mlp_dim"],
        "use_complex_transposed_convolution": kernels is not None,
    }
    return {**(clip.transformers_sizes(arguments["clip"]["arguments"]) or {}), **told}


def only(refined: bool) -> Callable[[Mapping[str, Any]], Sizes | None]:
    """The sizes of one of the two heads, and nothing of the other."""
    return lambda arguments: sizes(arguments) if (arguments["refined_kernels"] is not None) == refined else None


def run(model: Any, image: Tensor, ids: Tensor, picture: Tensor) -> Outputs:
    """Both prompts, what the decoder reads, and masks by text, by picture and by a mix of the two."""
    activations = model.encode(image)
    by_text, by_picture = model.encode_text(ids), model.encode_image(picture)
    mixed = TEXT_WEIGHT * by_text + (1 - TEXT_WEIGHT) * by_picture
    return {
        **{f"activation {number}": activation for number, activation in enumerate(activations)},
        "text prompt": by_text,
        "picture prompt": by_picture,
        "mask by text": model.decode(activations, by_text[:, None])[:, 0],
        "mask by picture": model.decode(activations, by_picture[:, None])[:, 0],
        "mask by both": model.decode(activations, mixed[:, None])[:, 0],
    }


def run_transformers(model: Any, image: Tensor, ids: Tensor, picture: Tensor) -> Outputs:
    """The same from the model's parts: its own forward shuts gradients off around CLIP and takes no mixed prompts."""
    states = model.clip.vision_model(pixel_values=image, output_hidden_states=True).hidden_states
    activations = [states[layer + 1] for layer in model.extract_layers]
    by_text = model.clip.get_text_features(input_ids=ids).pooler_output
    by_picture = model.clip.get_image_features(pixel_values=picture).pooler_output
    mixed = TEXT_WEIGHT * by_text + (1 - TEXT_WEIGHT) * by_picture
    return {
        **{f"activation {number}": activation for number, activation in enumerate(activations)},
        "text prompt": by_text,
        "picture prompt": by_picture,
        "mask by text": model.decoder(activations, by_text).logits,
        "mask by picture": model.decoder(activations, by_picture).logits,
        "mask by both": model.decoder(activations, mixed).logits,
    }


def inputs(arguments: Mapping[str, Any], generator: torch.Generator, batch: int) -> dict[str, Tensor]:
    """Pictures larger than the trained size (352 for 224), prompts' pictures of that size, a text for each picture."""
    clip: Mapping[str, Any] = arguments["clip"]["arguments"]
    side, patch_size = clip["image_size"], clip["patch_size"]
    context, end = clip["context_length"], clip["vocab_size"] - 1
    larger = side * 11 // 7 // patch_size * patch_size
    ids = torch.randint(1, end - 1, (batch, context), generator=generator)
    for row in range(batch):
        length = max(context - 1 - 3 * row, 2)
        ids[row, length] = end
        ids[row, length + 1 :] = 0
    return {
        "image": random_image(generator, batch, larger, larger),
        "ids": ids,
        "picture": random_image(generator, batch, side, side),
    }


TEXT = {
    "hidden_size": 32,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 60,
    "max_position_embeddings": 9,
}
TINY: dict[str, Any] = {
    "vision": {
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "image_size": 24,
        "patch_size": 4,
    },
    "text": TEXT,
    "embed_dim": 20,
    "extract_layers": (0, 1, 2),  # the fourth block is run for a picture prompt alone
    "reduce_dim": 12,
    "decoder_num_attention_heads": 3,
    "decoder_intermediate_size": 40,
}
TINY_REFINED: dict[str, Any] = {
    **TINY,
    "vision": {**TINY["vision"], "patch_size": 16, "image_size": 48},  # transformers' refined head fits 16 alone
    "extract_layers": (1, 3),
    "use_complex_transposed_convolution": True,
}
OTHER: dict[str, Any] = {
    "vision": {**TINY["vision"], "patch_size": 8, "image_size": 40, "num_hidden_layers": 5, "hidden_act": "gelu"},
    "text": {**TEXT, "hidden_act": "gelu"},
    "extract_layers": (1, 2, 3, 4),
    "reduce_dim": 16,
    "decoder_num_attention_heads": 2,
}
TRIALS = {"tiny": Trial(), "tiny, batch 3": Trial(seed=1, batch=3)}
B16: dict[str, Any] = {"vision": {"patch_size": 16}, "text": {}}
SHARED: dict[str, Any] = {
    "build": build_transformers,
    "inputs": inputs,
    "run": run,
    "run_reference": run_transformers,
    "told": told,
    "open": pretrained,
    "pairs": [
        ("clip.image_tower.norm_pre", "clip.vision_model.pre_layrnorm"),
        ("clip.image_tower.blocks.{i}", "clip.vision_model.encoder.layers.{i}"),
        ("clip.text_tower.blocks.{i}", "clip.text_model.encoder.layers.{i}"),
        ("decoder.reduces.{i}", "decoder.reduces.{i}"),
        ("decoder.blocks.{i}", "decoder.layers.{i}"),
    ],
}
REFERENCES = [
    Reference(
        model="CLIPSeg",
        sizes=only(refined=False),
        library="transformers",
        system="clipseg",
        format="transformers",
        **SHARED,
        tiny=TINY,
        trials={**TRIALS, "other sizes": Trial(OTHER), "other sizes, batch 3": Trial(OTHER, seed=1, batch=3)},
        official={"CIDAS/clipseg-rd64": B16, "CIDAS/clipseg-rd16": {**B16, "reduce_dim": 16}},
    ),
    Reference(
        model="CLIPSeg refined",
        sizes=only(refined=True),
        library="transformers",
        system="clipseg",
        format="transformers",
        **SHARED,
        tiny=TINY_REFINED,
        trials=TRIALS,
        official={"CIDAS/clipseg-rd64-refined": {**B16, "use_complex_transposed_convolution": True}},
    ),
]
