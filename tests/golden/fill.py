"""Deterministic parameters for the golden cases.

A golden case ships no weights: every tensor is a function of its name and its shape alone, so the same
checkpoint can be rebuilt anywhere, bit for bit. NumPy's RandomState stream is frozen by NumPy's policy.

    keys.json of a case   [[name, shape, dtype], ...] in the official checkpoint's own names and order
    checkpoint(keys)      {name: torch tensor}; integer and bool entries are not made here (they are structural)

    python fill.py CASE_DIR OUT.pth    writes that checkpoint as a .pth file (float32 unless --float64)
"""

import json
import math
import sys
import zlib
from pathlib import Path

import numpy as np

# Learned tables whose first axes are positions, tokens or classes, not fan-out: they get a fixed spread.
TABLES = ("pos", "token", "embedding", "relative", "query", "prompt")


def value(name: str, shape, salt: int = 0) -> np.ndarray:
    """The float64 array for one parameter or float buffer, from its name and shape alone."""
    shape = tuple(shape)
    noise = np.random.RandomState((zlib.crc32(name.encode()) + salt) & 0xFFFFFFFF).standard_normal(shape)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        return 1.0 + 0.1 * np.abs(noise)
    if len(shape) <= 1:  # norm and layer scales sit around one, biases and means around zero
        return (1.0 if leaf in ("weight", "gamma") or not shape else 0.0) + 0.1 * noise
    if shape[0] == 1 or any(word in name.lower() for word in TABLES):
        return 0.2 * noise
    return noise / math.sqrt(math.prod(shape[1:]))


def checkpoint(keys, salt: int = 0, dtype: str = "float64") -> dict:
    """Every float tensor of a key list, as torch tensors of the given dtype."""
    import torch

    return {
        name: torch.from_numpy(np.array(value(name, shape, salt))).to(getattr(torch, dtype))
        for name, shape, kind in keys
        if kind.startswith("float") or kind.startswith("bfloat")
    }


def fill_(module, salt: int = 0):
    """Overwrite every float parameter and buffer in a module's state dict, in place; return the module."""
    import torch

    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(np.array(value(name, tensor.shape, salt))).to(tensor.dtype))
    return module


def keys_of(module) -> list:
    """The key list of a module's state dict: [[name, shape, dtype], ...]."""
    return [[n, list(t.shape), str(t.dtype).removeprefix("torch.")] for n, t in module.state_dict().items()]


if __name__ == "__main__":
    import torch

    case, out = Path(sys.argv[1]), sys.argv[2]
    dtype = "float64" if "--float64" in sys.argv else "float32"
    config = json.loads((case / "config.json").read_text())
    torch.save(checkpoint(json.loads((case / "keys.json").read_text()), config.get("salt", 0), dtype), out)
