"""LAVT's golden cases: yz93/LAVT-RIS's `lavt` and `lavt_one` at tiny sizes, and the names of its released files."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from checkpoints_convert import build
from checkpoints_convert.proof.verify import redraw_all
from checkpoints_convert.tables import SYSTEMS
from checkpoints_convert.tables import lavt as tables
from minimodels.bert import BERT
from minimodels.errors import UserError
from minimodels.lavt import LAVT
from minimodels.stored import models
from tests.golden import Case, Line


def run_lavt(case: Case, device: torch.device) -> list[Line]:
    """Words come from the case; the BERT beside, which the layout asks for, is a small one that nothing reads."""
    model: Any = build(tables.join(case.checkpoint(), small_bert()), "lavt", **told(case)).to(device)
    words = case.tensor("in.lang", torch.float64).to(device).mT  # (B, T, 768), channels last
    mask = case.tensor("in.l_mask").to(device)[..., 0]
    return judge(case, observe(model, case.tensor("in.image", torch.float64).to(device), words, mask))


def run_lavt_one(case: Case, device: torch.device) -> list[Line]:
    """BERT inside: from token numbers to logits."""
    model: Any = build(case.checkpoint(), "lavt", **told(case)).to(device)
    ids, mask = case.tensor("in.text").to(device), case.tensor("in.l_mask").to(device)
    image = case.tensor("in.image", torch.float64).to(device)
    words = model.encode_text(ids, mask)
    computed = {"out.lang": words.mT, **observe(model, image, words, mask)}
    computed["out.logits"] = model(image, ids, mask)
    return judge(case, computed)


def told(case: Case) -> dict[str, Any]:
    """What shapes do not tell."""
    heads = {"text_heads": case.config["bert"]["num_attention_heads"]} if "bert" in case.config else {}
    return {"fusion_heads": tuple(case.config["mha"]), **heads}


def small_bert() -> dict[str, Tensor]:
    """A BERT of the right width under the official names."""
    bert = BERT(vocab_size=4, max_length=2, depth=1, mlp_dim=8).double()
    table = tables.FORMATS["official"].table
    ours = {f"bert.{name}": tensor for name, tensor in bert.state_dict().items()}
    return {name.removeprefix(tables.BESIDE): tensor for name, tensor in table.export(ours).items()}


def observe(model: LAVT, image: Tensor, words: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Every map by the case's name and layout."""
    maps = model.maps(image, words, mask)
    last = len(model.norms)
    computed = {"out.patch": maps["patches"], "out.logits_low": maps["logits_low"], "out.logits": maps["logits"]}
    for i in range(1, last + 1):
        computed |= {f"out.v{i}": tokens(maps[f"V_{i}"]), f"out.f{i}": tokens(maps[f"F_{i}"])}
        computed[f"out.x_c{i}"] = maps[f"N_{i}"]
        if i < last:
            computed[f"out.y{i}"] = maps[f"Y_{i}"]
            merged = model.backbone.stages[i - 1].merge(rearrange(maps[f"E_{i}"], "b c h w -> b h w c"))
            computed[f"out.next{i}"] = rearrange(merged, "b h w c -> b (h w) c")
    unused = model.gates[-1](channels_last(maps[f"V_{last}"]), channels_last(maps[f"F_{last}"]))
    computed[f"out.next{last}"] = rearrange(unused, "b h w c -> b (h w) c")
    return computed


def tokens(x: Tensor) -> Tensor:
    return rearrange(x, "b c h w -> b (h w) c")


def channels_last(x: Tensor) -> Tensor:
    return rearrange(x, "b c h w -> b h w c")


def judge(case: Case, computed: Mapping[str, Tensor]) -> list[Line]:
    """The stored part of each array: every so many along each axis, as `strides` says."""
    strides = case.config["strides"]
    parts = {name: [slice(None, None, step) for step in strides.get(name, [])] for name in computed}
    return case.judge({name: tensor[tuple(parts[name])] for name, tensor in computed.items()})


# ---------------------------------------------------------------- the released files' key lists


def run_keys(case: Case, device: torch.device) -> list[Line]:
    """Both layouts at full size: every official name is used or dropped for a reason, every one of ours is filled."""
    model, bert = case.empty_checkpoint(), case.empty_checkpoint("keys.bert_model.json")
    counts = {name: info["parameters"] for name, info in case.config["info"].items()}
    beside = counts["keys.json"] + counts["keys.bert_model.json"]
    lines = layout(case, "lavt", tables.join(model, bert), beside)
    return lines + layout(case, "lavt_one", case.empty_checkpoint("keys.lavt_one.json"), counts["keys.lavt_one.json"])


def layout(case: Case, name: str, tensors: dict[str, Tensor], wanted: int) -> list[Line]:
    """One of the two: names, parameters, sizes."""
    try:
        model: Any = build(tensors, "lavt")
    except UserError as error:
        return [Line(f"{name} names", False, str(error))]
    table = SYSTEMS["lavt"].formats[model.about["format"]].table
    dropped = table.convert(tensors).dropped
    reasons = "; ".join(dict.fromkeys(dropped.values()))
    text = f"{len(tensors)} official names become our {len(model.state_dict())}; {len(dropped)} dropped ({reasons})"
    count = sum(parameter.numel() for parameter in model.parameters())
    arguments, swin = model.about["arguments"]["backbone"]["arguments"], case.config["swin"]
    ours = {key: list(arguments[key]) if key != "embed_dim" else arguments[key] for key in ("embed_dim", "depths")}
    ours |= {"num_heads": list(arguments["num_heads"]), "window_size": arguments["window_size"]}
    ours |= {"mha": list(model.about["arguments"]["fusion_heads"])}
    return [
        Line(f"{name} names", True, text),
        Line(f"{name} parameters", count == wanted, f"ours {count:,}, official {wanted:,}"),
        Line(f"{name} sizes", ours == swin, f"ours {ours}, official {swin}"),
    ]


# ---------------------------------------------------------------- gradients: no library has LAVT

UNUSED = ("gates.2.fc1.weight", "gates.2.fc2.weight")  # the last stage's gate is loaded and never computed
SMALL: dict[str, Any] = {
    "backbone": {
        "class": "SwinBackbone",
        "arguments": {
            "patch_size": 2, "embed_dim": 8, "depths": (1, 2, 2), "num_heads": (1, 2, 2), "window_size": 3,
            "mlp_ratio": 2.0,
        },
    },
    "bert": {
        "class": "BERT",
        "arguments": {
            "vocab_size": 30, "max_length": 12, "embed_dim": 12, "depth": 1, "num_heads": 2, "mlp_dim": 16,
        },
    },
    "fusion_heads": (1, 2, 1), "decoder_dim": 6,
}  # fmt: skip


@torch.enable_grad()
def gradients(step: float = 1e-6, part: str = "") -> float:
    """The largest gap between a gradient and finite differences along a random direction, in float64.

    Of the picture, of the words and of every parameter (those whose name begins with `part`) of a small LAVT, all
    redrawn; relative to 1 + the slope.
    """
    model = redraw_all(models.make("LAVT", SMALL)).double().eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, 21, 30, generator=generator, dtype=torch.float64).requires_grad_(True)
    ids, mask = torch.randint(5, 30, (2, 5), generator=generator), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    weights = torch.randn(2, 2, 21, 30, generator=generator, dtype=torch.float64)
    more = torch.zeros(2, 5, model.text_dim, dtype=torch.float64, requires_grad=True)  # added to the words

    def value() -> Tensor:
        return (model.segment(image, model.encode_text(ids, mask) + more, mask) * weights).sum()

    value().backward()
    gaps = []
    named = {name: tensor for name, tensor in model.named_parameters() if name not in UNUSED}
    for tensor in (image, more, *(tensor for name, tensor in named.items() if name.startswith(part))):
        direction = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        assert tensor.grad is not None
        slope, here = float((tensor.grad * direction).sum()), tensor.detach().clone()
        with torch.no_grad():
            up, down = (float(value_at(tensor, here + move * direction, value)) for move in (step, -step))
            tensor.copy_(here)
        gaps.append(abs((up - down) / (2 * step) - slope) / (1 + abs(slope)))
    return max(gaps)


def value_at(tensor: Tensor, place: Tensor, value: Callable[[], Tensor]) -> Tensor:
    tensor.copy_(place)
    return value()


def is_inside(name: str) -> bool:
    """Everything but the answer, as the parity table counts."""
    return name != "out.logits"


KINDS = {"lavt": run_lavt, "lavt_one": run_lavt_one, "keys": run_keys}
