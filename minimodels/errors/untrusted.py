"""Values that nobody has checked yet, as values of a type: the one door from somebody's JSON into our code.

A config beside weights, the metadata of a model file, a search index, `--tell`: all of them may hold anything, of any
type, size and depth. `Settings` answers key by key; each answer has the asked type and lies within the asked bounds,
or a `UserError` names the file, the key, what is there and what was expected. `reading` is the one place where an
exception that a reader did not foresee becomes such an error.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minimodels.errors import UserError, one_line

MOST = 2**31 - 1  # no size, count or number of heads in a model is larger
DEEPEST = 50  # objects and lists in each other: no config is nested deeper
LARGEST = 100_000_000  # bytes of a JSON file: the largest vocabularies have 20 million
MISSING: Any = object()


class Unreadable(UserError):
    """A reader failed in a way that it did not foresee; `__cause__` is what happened."""


@contextmanager
def reading(what: str | Path) -> Iterator[None]:
    """Around a reader of untrusted bytes: any exception it did not foresee becomes one line.

    Raises:
        Unreadable: in place of what is neither a `UserError` nor the machine's own failure (OSError, MemoryError).
    """
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except RecursionError as error:
        raise Unreadable(f"{what} cannot be read: its values are nested too deeply") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise Unreadable(f"{what} cannot be read ({type(error).__name__}: {reason}); is it whole?") from error


class Settings(Mapping[str, Any]):
    """A JSON object of unknown origin, asked key by key. A null counts as missing, as the libraries take it.

    As a mapping it gives the raw values; everything else checks. `nulls` are the keys that were there with a null.

    Args:
        values: the object. Anything but a mapping with texts as keys is refused.
        where: what messages call it: "config.json", "--tell", "the metadata of model.safetensors".

    Raises:
        UserError: no object, or one that is nested deeper than any config.
    """

    def __init__(self, values: Any, where: str):
        if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
            raise UserError(f"{where} is {shown(values)}, expected a JSON object: {{...}}")
        self.values_ = {key: value for key, value in values.items() if value is not None}
        told = values.nulls if isinstance(values, Settings) else values.keys() - self.values_.keys()
        self.nulls: frozenset[str] = frozenset(told)
        self.where = where

    def __getitem__(self, key: str) -> Any:
        return self.values_[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    def whole(self, key: str, default: Any = MISSING, *, least: int = 1, most: int = MOST) -> Any:
        """A whole number between two bounds, both allowed."""
        return self._ask(key, default, lambda value: whole(value, self._name(key), least=least, most=most))

    def number(
        self, key: str, default: Any = MISSING, *, above: int | float = -math.inf, most: int | float = math.inf
    ) -> Any:
        """A finite number, larger than one bound and not larger than the other."""
        return self._ask(key, default, lambda value: number(value, self._name(key), above=above, most=most))

    def truth(self, key: str, default: Any = MISSING) -> Any:
        """true or false."""
        return self._ask(key, default, lambda value: truth(value, self._name(key)))

    def text(self, key: str, default: Any = MISSING, *, among: Sequence[str] = ()) -> Any:
        """A text; where there are choices, one of them."""
        return self._ask(key, default, lambda value: text(value, self._name(key), among=among))

    def wholes(self, key: str, default: Any = MISSING, *, count: int | None = None, least: int = 1) -> Any:
        """A tuple of whole numbers, of a certain length where one is told."""
        return self._ask(key, default, lambda value: wholes(value, self._name(key), count=count, least=least))

    def numbers(
        self, key: str, default: Any = MISSING, *, count: int | None = None, above: int | float = -math.inf
    ) -> Any:
        """A tuple of finite numbers, of a certain length where one is told."""
        return self._ask(key, default, lambda value: numbers(value, self._name(key), count=count, above=above))

    def inside(self, key: str) -> "Settings":
        """The object under a key; an empty one where there is none."""
        return Settings(self.values_.get(key, {}), self._name(key))

    def expect(self, key: str, *allowed: Any, why: str, usual: Any = MISSING) -> None:
        """Refuse a value that our model does not have.

        A missing one is fine, or is what the library takes then (`usual`).

        Raises:
            UserError: it is none of `allowed`. `why` completes "... expected X: ".
        """
        value = self.values_.get(key, usual)
        if value is not MISSING and not any(_same(value, one) for one in allowed):
            wanted = " or ".join(shown(one) for one in allowed)
            found = f"is {shown(value)}" if key in self.values_ else f"is missing, which means {shown(value)}"
            raise UserError(f"{self._name(key)} {found}, expected {wanted}: {why}")

    def _ask(self, key: str, default: Any, check: Any) -> Any:
        if key in self.values_:
            return check(self.values_[key])
        if default is MISSING:
            raise UserError(f"{self.where} lacks {key!r}")
        return default

    def _name(self, key: str) -> str:
        return f"{key} in {self.where}"


def read_json(path: Path) -> Any:
    """The value of a JSON file, whatever it is, not nested deeper than `DEEPEST`.

    Raises:
        UserError: it cannot be read, is no JSON, too large or too deep.
    """
    try:
        if not path.is_file():
            raise UserError(f"{path} is not an ordinary file" if path.exists() else f"there is no file {path}")
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path} has {path.stat().st_size:,} bytes, no JSON file of a model has so many")
        return parse_json(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid JSON ({error}). Fetch it again.") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def parse_json(source: str, where: str) -> Any:
    """The value of a JSON text.

    Raises:
        UserError: it is no JSON, or nested deeper than `DEEPEST`.
    """
    try:
        value = json.loads(source)
    except RecursionError:
        raise UserError(f"{where} is nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{where} is not valid JSON ({error}). Fetch it again.") from None
    level = [value]
    for _ in range(DEEPEST):
        level = [item for outer in level for item in _items(outer)]
        if not level:
            return value
    raise UserError(f"{where} is nested deeper than {DEEPEST} levels")


def _items(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def whole(value: Any, what: str, *, least: int = 1, most: int = MOST) -> int:
    """A whole number between two bounds, both allowed; UserError else. True is no number."""
    if type(value) is not int or not least <= value <= most:
        upto = f"{least} to {most}" if most < MOST else f"at least {least}"
        raise UserError(f"{what} is {shown(value)}, expected a whole number, {upto}")
    return value


def number(
    value: Any,
    what: str,
    *,
    above: int | float = -math.inf,
    least: int | float = -math.inf,
    most: int | float = math.inf,
) -> float:
    """A finite number larger than one bound, not smaller than the next and not larger than the last; UserError else."""
    fits = type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value) and above < value <= most
    if not fits or value < least:
        bounds = (f" above {above:g}" if above > -math.inf else "") + (f" from {least:g}" if least > -math.inf else "")
        bounds += f" up to {most:g}" if most < math.inf else ""
        raise UserError(f"{what} is {shown(value)}, expected a number{bounds}")
    return float(value)


def truth(value: Any, what: str) -> bool:
    """true or false; UserError else."""
    if not isinstance(value, bool):
        raise UserError(f"{what} is {shown(value)}, expected true or false")
    return value


def text(value: Any, what: str, *, among: Sequence[str] = ()) -> str:
    """A text, one of the choices where there are some; UserError else."""
    if not isinstance(value, str) or (among and value not in among):
        raise UserError(f"{what} is {shown(value)}, expected {'one of ' + ', '.join(among) if among else 'a text'}")
    return value


def wholes(value: Any, what: str, *, count: int | None = None, least: int = 1, most: int = MOST) -> tuple[int, ...]:
    """A list of whole numbers; UserError else."""
    return tuple(whole(item, what, least=least, most=most) for item in _listed(value, what, count, "whole numbers"))


def numbers(value: Any, what: str, *, count: int | None = None, above: int | float = -math.inf) -> tuple[float, ...]:
    """A list of finite numbers; UserError else."""
    return tuple(number(item, what, above=above) for item in _listed(value, what, count, "numbers"))


def _listed(value: Any, what: str, count: int | None, of: str) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)) or (count is not None and len(value) != count):
        raise UserError(f"{what} is {shown(value)}, expected a list of {f'{count} ' if count else ''}{of}")
    return value


def shown(value: Any) -> str:
    """A value for a message: as JSON has it, and short."""
    if isinstance(value, Mapping):
        return f"an object with {len(value)} keys"
    if isinstance(value, (list, tuple)):
        plain = len(value) <= 8 and not any(isinstance(item, (list, tuple, Mapping)) for item in value)
        return f"[{', '.join(map(shown, value))}]" if plain else f"a list of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**18:
        return "a number of more than 18 digits"
    try:
        words = json.dumps(value)
    except (TypeError, ValueError):
        words = type(value).__name__
    return words if len(words) <= 60 else f"{words[:57]}..."


def plain(words: str, room: int = 80) -> str:
    """A name from a file for a message: one line, short, letters that print."""
    return one_line(f"{words[: room - 3]}..." if len(words) > room else words)


def _same(value: Any, allowed: Any) -> bool:
    return (
        type(value) is type(allowed)
        and value == allowed
        or (type(value) in (int, float) and type(allowed) in (int, float) and value == allowed)
    )
