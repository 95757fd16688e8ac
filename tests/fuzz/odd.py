"""Odd things: values that no config expects, texts that no name holds, bytes that were right before."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

WHOLES = (0, -1, 1, 2, 3, 5, 7, 13, 64, 100, 255, 256, 1023, 2**15, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64)
FLOATS = (0.0, -0.0, -1.5, 0.5, 1e-6, 1e-5, 1e-300, 1e30, 1e308, 3.0, float("nan"), float("inf"), -float("inf"))
TEXTS = (
    "", " ", "0", "1", "true", "False", "no", "off", "none", "null", "nan", "gelu", "gelu_new", "quick_gelu", "relu",
    "silu", "bicubic", "bilinear", "nearest", "lanczos", "avg", "token", "map", "..", "/no/", "a/b", "{}", "%s", "\0",
    "\n", "\x1b[31mred", "\u202e", "é", "猫", "🚀", "\ud800", "x" * 5000, "vit", "clip", "swin", "dinov2", "__class__",
)  # fmt: skip
INTERESTING = (0, 1, -1, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)


def odd_value(rng: Random, usual: Any = None, depth: int = 0) -> Any:
    """A value in the place of the usual one: another number, another type, another structure."""
    near = []
    if isinstance(usual, bool):
        near = [not usual, int(usual), str(usual), str(usual).lower()]
    elif isinstance(usual, int):
        near = [usual + 1, usual - 1, usual * 2, usual // 2, -usual, usual / 2**9, str(usual), [usual], [usual] * 2]
    elif isinstance(usual, float):
        near = [usual * 10, usual / 10, -usual, int(usual > 0.5), str(usual), [usual]]
    elif isinstance(usual, str):
        near = [usual.upper(), usual + "_", usual[:-1], [usual], rng.choice(TEXTS)]
    elif isinstance(usual, list) and usual:
        at = rng.randrange(len(usual))
        changed = [*usual[:at], odd_value(rng, usual[at], depth + 1), *usual[at + 1 :]]
        near = [changed, changed, usual[:-1], usual + usual[-1:], usual[::-1], usual[0], [], {"0": usual}]
    elif isinstance(usual, dict):
        near = [{}, list(usual), dict.fromkeys(usual), str(usual)]
    if near and rng.random() < 0.5:
        return rng.choice(near)
    kinds = (rng.choice(WHOLES), -rng.choice(WHOLES), rng.choice(FLOATS), rng.choice(TEXTS), None, True, False)
    if depth < 3 and rng.random() < 0.2:
        inner = [odd_value(rng, None, depth + 1) for _ in range(rng.choice((0, 1, 2, 3, 9)))]
        return rng.choice((inner, {str(at): value for at, value in enumerate(inner)}, {"": inner}, deep(rng)))
    return rng.choice(kinds)


def deep(rng: Random) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(rng.choice((10, 60, 300, 900))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every key of a JSON value, objects and lists of objects."""
    found = []
    if isinstance(value, Mapping):
        for key, inner in value.items():
            found += [(*path, key), *places(inner, (*path, key))]
    return found


def changed(value: Any, path: Sequence[Any], new: Any) -> Any:
    """A copy with another value at the end of a way; `new` ... takes the key out."""
    if not path:
        return new
    copy = dict(value)
    if len(path) == 1 and new is ...:
        copy.pop(path[0], None)
    else:
        copy[path[0]] = changed(copy[path[0]], path[1:], new)
    return copy


def odd_config(rng: Random, config: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """A config with one to three values that are odd, missing or new; and what was changed."""
    whole, told = config, []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        known = places(whole)
        if not known or rng.random() < 0.02:
            return odd_value(rng), [*told, "all"]
        path = rng.choice(known)
        usual = whole
        for key in path:
            usual = usual[key]
        new: Any = ... if rng.random() < 0.12 else odd_value(rng, usual)
        whole = changed(whole, path, new)
        told.append([list(path), "missing" if new is ... else new])
    return whole, told


def damaged(rng: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Bytes with one to five kinds of damage, more often at the ends, where the structure is."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        at = place_in(rng, len(out))
        kind = rng.randrange(9)
        if kind == 0 and out:
            out[min(at, len(out) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:
            out[min(at, len(out) - 1)] = rng.choice((0, 255, 128, rng.randrange(256)))
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            del out[at : at + rng.choice((1, 2, 4, 8, 16, 64, 500))]
        elif kind == 4:
            out[at:at] = rng.choice(
                (bytes(rng.choice((1, 8, 64))), rng.randbytes(rng.choice((1, 4, 40))), out[:at][-30:])
            )
        elif kind == 5 and others:
            other = rng.choice(others)
            start = place_in(rng, len(other))
            piece = other[start : start + rng.choice((4, 30, 300, 3000))]
            out[at : at + (len(piece) if rng.random() < 0.5 else 0)] = piece
        elif kind == 6:
            start, length = place_in(rng, len(out)), rng.choice((1, 4, 16, 64))
            out[at : at + length], out[start : start + length] = out[start : start + length], out[at : at + length]
        else:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice((*INTERESTING, len(out), len(out) - 8)) % 256**size
            out[at : at + size] = number.to_bytes(size, rng.choice(("little", "little", "big")))
    return bytes(out)


def place_in(rng: Random, length: int) -> int:
    """A place in so many bytes."""
    if length < 2:
        return 0
    near = min(length, 400)
    return rng.choice((rng.randrange(length), rng.randrange(near), length - 1 - rng.randrange(near)))


def odd_text(rng: Random) -> str:
    """A text that somebody might type, or nobody."""
    if rng.random() < 0.6:
        return rng.choice(TEXTS)
    letters = "aZ0 -_./\\:{}%\n\t\0\x1b\x7f\x85é猫🚀\ud800\udfff\u202e\u200b\ufeff"
    return "".join(rng.choice(letters) for _ in range(rng.choice((1, 2, 5, 20, 300))))
