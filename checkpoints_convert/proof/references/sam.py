"""SAM beside transformers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints_convert.proof.references import Outputs, Reference, Sizes, Trial, pretrained, random_image


def build_transformers(*, vision: Sizes, prompt: Sizes, decoder: Sizes) -> nn.Module:
    """transformers' SamModel; sizes that several of its configs repeat are told once, in `vision` and `prompt`."""
    from transformers import SamConfig, SamModel

    width = prompt.get("hidden_size", 256)
    picture = {key: vision[key] for key in ("image_size", "patch_size") if key in vision}
    config = SamConfig(
        vision_config={"output_channels": width, "num_pos_feats": width // 2, **vision},
        prompt_encoder_config={**picture, **prompt},
        mask_decoder_config={"hidden_size": width, **decoder},
        attn_implementation="sdpa",
    )
    return untrained(SamModel(config))


def untrained(model: Any) -> nn.Module:
    """The frequencies as buffers: not trained, as in the official code and ours."""
    for places in (model.shared_image_embedding, model.prompt_encoder.shared_embedding):  # the same numbers, twice
        frequencies = places._parameters.pop("positional_embedding").detach()
        places.register_buffer("positional_embedding", frequencies)
    return model


def open_transformers(reference: Reference, tensors: Mapping[str, Tensor], sizes: Sizes) -> nn.Module:
    """transformers' own loader makes parameters of them again."""
    return untrained(pretrained(reference, tensors, sizes))


def told(sizes: Sizes) -> dict[str, Any]:
    """What shapes do not tell."""
    return {"decoder_heads": sizes["decoder"].get("num_attention_heads", 8)}


def sizes(arguments: Mapping[str, Any]) -> Sizes | None:
    """transformers' words for the arguments of ours."""
    vision = {
        "hidden_size": arguments["embed_dim"],
        "num_hidden_layers": arguments["depth"],
        "num_attention_heads": arguments["num_heads"],
        "mlp_dim": arguments["mlp_dim"],
        "image_size": arguments["image_size"],
        "patch_size": arguments["patch_size"],
        "window_size": arguments["window_size"],
        "global_attn_indexes": list(arguments["global_blocks"]),
    }
    decoder = {
        "num_hidden_layers": arguments["decoder_depth"],
        "num_attention_heads": arguments["decoder_heads"],
        "mlp_dim": arguments["decoder_mlp_dim"],
        "iou_head_hidden_dim": arguments["iou_dim"],
        "num_multimask_outputs": arguments["num_masks"],
        "layer_norm_eps": arguments["decoder_eps"],
    }
    prompt = {"hidden_size": arguments["prompt_dim"], "mask_input_channels": arguments["mask_channels"]}
    return {"vision": vision, "prompt": prompt, "decoder": decoder}


def run(model: Any, image: Tensor, points: Tensor, labels: Tensor, boxes: Tensor, mask: Tensor) -> Outputs:
    """The embedding, and masks with their predicted IoU for every kind of prompt."""
    embedding = model.encode(image)
    answers = {
        "points": model.decode(embedding, points, labels),
        "points, one mask": model.decode(embedding, points, labels, multimask=False),
        "boxes": model.decode(embedding, boxes=boxes, multimask=False),
        "points and boxes": model.decode(embedding, points, labels, boxes),
        "point and mask": model.decode(embedding, points[:, :1], labels[:, :1], mask=mask),
    }
    return named(embedding, answers)


def run_transformers(model: Any, image: Tensor, points: Tensor, labels: Tensor, boxes: Tensor, mask: Tensor) -> Outputs:
    """The same; a mask prompt goes with one prompt an image there."""
    embedding = model.vision_encoder(image).last_hidden_state  # get_image_embeddings shuts gradients off

    def ask(prompt: Mapping[str, Tensor], multimask: bool = True) -> tuple[Tensor, Tensor]:
        answer = model(image_embeddings=embedding, multimask_output=multimask, **prompt)
        return answer.pred_masks, answer.iou_scores

    clicks = {"input_points": points, "input_labels": labels}
    one = {"input_points": points[:, :1], "input_labels": labels[:, :1]}
    answers = {
        "points": ask(clicks),
        "points, one mask": ask(clicks, multimask=False),
        "boxes": ask({"input_boxes": boxes}, multimask=False),
        "points and boxes": ask({**clicks, "input_boxes": boxes}),
        "point and mask": ask({**one, "input_masks": mask}),
    }
    return named(embedding, answers)


def named(embedding: Tensor, answers: Mapping[str, tuple[Tensor, Tensor]]) -> Outputs:
    """Each answer's masks and predicted IoUs by name."""
    outputs = {"embedding": embedding}
    for name, (masks, iou) in answers.items():
        outputs |= {f"masks by {name}": masks, f"IoU by {name}": iou}
    return outputs


def inputs(arguments: Mapping[str, Any], generator: torch.Generator, batch: int) -> dict[str, Tensor]:
    """Three prompts an image of two clicks (the last one padding in the second prompt), boxes, and a mask's logits."""
    side, fine = arguments["image_size"], 4 * arguments["image_size"] // arguments["patch_size"]
    places = torch.rand(batch, 3, 4, generator=generator) * (side - 1)
    corners = torch.cat([places.view(batch, 3, 2, 2).amin(2), places.view(batch, 3, 2, 2).amax(2)], dim=-1)
    labels = torch.randint(0, 2, (batch, 3, 2), generator=generator)
    labels[:, 1, 1] = -1
    return {
        "image": random_image(generator, batch, side, side),
        "points": torch.rand(batch, 3, 2, 2, generator=generator) * (side - 1),
        "labels": labels,
        "boxes": corners,
        "mask": 4 * torch.randn(batch, 1, fine, fine, generator=generator),
    }


TINY: dict[str, Any] = {
    "vision": {
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "mlp_dim": 40,
        "image_size": 40,
        "patch_size": 8,
        "window_size": 3,
        "global_attn_indexes": [1],
    },
    "prompt": {"hidden_size": 16, "mask_input_channels": 8},
    "decoder": {"num_attention_heads": 4, "mlp_dim": 28, "iou_head_hidden_dim": 20},
}
OTHER: dict[str, Any] = {
    "vision": {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "mlp_dim": 64,
        "image_size": 48,
        "patch_size": 6,
        "window_size": 5,
        "global_attn_indexes": [0, 3],
    },
    "prompt": {"hidden_size": 24, "mask_input_channels": 12},
    "decoder": {"num_attention_heads": 2, "mlp_dim": 20, "iou_head_hidden_dim": 12, "num_hidden_layers": 3},
}
BASE: dict[str, Any] = {"vision": {}, "prompt": {}, "decoder": {}}
LARGE_VISION = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "mlp_dim": 4096}
HUGE_VISION = {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16, "mlp_dim": 5120}
LARGE = {**BASE, "vision": {**LARGE_VISION, "global_attn_indexes": [5, 11, 17, 23]}}
HUGE = {**BASE, "vision": {**HUGE_VISION, "global_attn_indexes": [7, 15, 23, 31]}}


def flat(tokens: Tensor) -> Tensor:
    """Their tokens (B, P, N, C) as ours lie, (B P, N, C)."""
    return tokens.flatten(0, 1)


REFERENCES = [
    Reference(
        model="SAM",
        library="transformers",
        system="sam",
        format="transformers",
        build=build_transformers,
        inputs=inputs,
        run=run,
        run_reference=run_transformers,
        told=told,
        sizes=sizes,
        open=open_transformers,
        pairs=[
            ("image_encoder.blocks.{i}", "vision_encoder.layers.{i}"),
            ("image_encoder.neck", "vision_encoder.neck"),
            ("mask_decoder.blocks.{i}", "mask_decoder.transformer.layers.{i}", flat),
        ],
        tiny=TINY,
        trials={
            "tiny": Trial(),
            "tiny, batch 3": Trial(seed=1, batch=3),
            "other sizes": Trial(OTHER),
            "other sizes, batch 3": Trial(OTHER, seed=1, batch=3),
        },
        official={"facebook/sam-vit-base": BASE, "facebook/sam-vit-large": LARGE, "facebook/sam-vit-huge": HUGE},
    )
]
