"""Writing .safetensors so that tensors lie where processors read them best.

A file is mapped into memory as it is, so a tensor's place in the file decides on its address. The format allows no gaps
between tensors, but spaces behind the header: the data begins at a multiple of 64 bytes. Then come the tensors whose
size is a multiple of 64, so each of them begins at one too; behind them the few others, large numbers first, so that
each still begins at a multiple of its own number's size.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

ALIGNED = 64  # bytes: a cache line, and the widest register of today's processors
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip


def save_aligned(tensors: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors (any device) and text metadata as a .safetensors file; OSError where that fails."""

    def place(name: str) -> tuple[bool, int, str]:
        return tensors[name].nbytes % ALIGNED != 0, -tensors[name].element_size(), name

    names, start = sorted(tensors, key=place), 0
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    for name in names:
        tensor, end = tensors[name], start + tensors[name].nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNED)
    with Path(path).open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data)
