"""A small BiomedCLIP as a folder of the hub holds it, and open_clip's model of the same folder, offline."""

import copy
import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from checkpoints_convert.proof.verify import redraw_all
from checkpoints_convert.tables.biomedclip import PUBMED
from minimodels.words.word_piece import SPECIALS

# PubMedBERT has 12 heads, so has the small one.
SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 12, "intermediate_size": 64}
WORDS = "x ray of the lung heart show ##s cell pneumonia ##itis card ##io ##my ##o ##pathy cafe 猫 [ ] sep a , . !"
PIECES = [*SPECIALS, "[unused0]", "[unused1]", *WORDS.split()]
BERT: dict[str, Any] = {**SIZES, "vocab_size": len(PIECES), "max_position_embeddings": 40, "pad_token_id": 0}
VISION = {
    "timm_model_name": "test_vit",
    "timm_model_pretrained": False,
    "timm_pool": "",
    "timm_proj": "linear",
    "image_size": 160,
}
TEXT = {
    "hf_model_name": PUBMED[0],
    "hf_tokenizer_name": PUBMED[0],
    "hf_model_pretrained": False,
    "hf_proj_type": "mlp",
    "hf_pooler_type": "cls_last_hidden_state_pooler",
    "context_length": 12,
}
CONFIG: dict[str, Any] = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}


@pytest.fixture
def pubmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers finds a small BERT's config under PubMedBERT's name, which is not on this machine."""
    import transformers

    def small(name: str, **_: Any) -> transformers.BertConfig:
        return transformers.BertConfig(**BERT)

    monkeypatch.setattr(open_clip.hf_model.AutoConfig, "from_pretrained", small)


def build(config: dict[str, Any]) -> nn.Module:
    """open_clip's model of a config, every parameter redrawn."""
    told = {key: value for key, value in copy.deepcopy(config).items() if key != "custom_text"}
    return redraw_all(open_clip.model.CustomTextCLIP(**told))


def save(config: dict[str, Any], folder: Path, built: dict[str, Any] | None = None, **preprocess: Any) -> nn.Module:
    """open_clip's model, saved with its config and its words."""
    theirs = build(config if built is None else built)
    save_file(dict(theirs.state_dict()), folder / "open_clip_model.safetensors")
    written = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(written), encoding="utf-8")
    write_words(folder)
    return theirs


def write_words(folder: Path, pieces: list[str] = PIECES, **config: Any) -> None:
    """vocab.txt, and the tokenizer's config as BiomedCLIP's repository has it."""
    told = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, **config}
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")


def pictures(*size: int) -> torch.Tensor:
    """Two of noise."""
    return torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
