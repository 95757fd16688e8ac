"""What the check of an exercise says: the function to write, random cases, the reference, and what people get wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any


class Random:
    """Seeded random inputs, in float64: `random(2, 3)` draws a normal tensor of that shape."""

    def __init__(self, seed: int = 0):
        import torch

        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int):
        import torch

        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def integers(self, low: int, high: int, *shape: int):
        """Whole numbers from `low` up to, not including, `high`."""
        import torch

        return torch.randint(low, high, shape, generator=self.generator)

    def order(self, count: int):
        """The numbers 0 to count - 1, shuffled."""
        import torch

        return torch.randperm(count, generator=self.generator)


class Unusable(Exception):
    """What was handed in cannot be used; the message says why in a learner's words. For `Task.call`."""


class Mistake:
    """One known mistake: a small wrong implementation and the words that name it.

    Args:
        text: completes the sentence "your output equals ...".
        function: the wrong implementation, called like the learner's (a wrong table where a table is handed in);
            where it is left out, the task's `flawed`.
        fix: one sentence on what to do.
        options: keyword arguments for the function. Mistakes that share a function can be tried in pairs.
    """

    def __init__(self, text: str, function: Any = None, *, fix: str = "", **options: Any):
        self.text, self.function, self.fix, self.options = text, function, fix, options

    def __call__(self, *inputs: Any) -> Any:
        return self.function(*inputs, **self.options)

    @property
    def handed_in(self) -> Any:
        """What a learner with this mistake would hand in."""
        return self if callable(self.function) else self.function

    def with_other(self, other: Mistake) -> Mistake | None:
        """Both mistakes at once, where one function can make both."""
        if self.function is not other.function or not self.options or not other.options:
            return None
        if self.options.keys() & other.options.keys():
            return None
        text = f"two mistakes at once: (1) {self.text}; (2) {other.text}"
        fix = " ".join(part for part in (self.fix, other.fix) if part)
        return Mistake(text, self.function, fix=fix, **self.options, **other.options)


def plain_call(handed_in: Any, *inputs: Any) -> Any:
    """A function is called with the inputs in order."""
    return handed_in(*inputs)


@dataclass(frozen=True, eq=False)
class Task:
    """One thing that a learner hands in, usually a function.

    Args:
        name: its name in the learner's file.
        cases: from `Random` to dicts {input name: value}; the values are passed in this order.
        reference: gives the right answer for the same inputs; never one of our own models.
        mistakes: the known mistakes, the likeliest first.
        flawed: the function of the mistakes that name none: one that goes wrong in the ways its options say.
        gradients: names of inputs whose gradients are compared too.
        like: how the reference is called in messages.
        forbidden: names that would do the learner's work, such as "softmax".
        call: how the thing handed in is used; for a function, `handed_in(*inputs)`.
        tolerance: answers agree where |yours - reference| <= tolerance * (1 + |reference|).
    """

    name: str
    cases: Callable[[Random], Iterable[dict[str, Any]]]
    reference: Callable
    mistakes: Sequence[Mistake]
    flawed: Callable | None = None
    gradients: tuple[str, ...] = ()
    like: str = "the reference"
    forbidden: tuple[str, ...] = ()
    call: Callable = plain_call
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        for mistake in self.mistakes:
            mistake.function = self.flawed if mistake.function is None else mistake.function
            if mistake.function is None:
                raise ValueError(f"{self.name}: nothing makes the mistake: {mistake.text}")

    @cached_property
    def pairs(self) -> list[Mistake]:
        """Two known mistakes at once, where one function can make both."""
        found = []
        for at, first in enumerate(self.mistakes):
            for second in self.mistakes[at + 1 :]:
                both = first.with_other(second)
                if both is not None:
                    found.append(both)
        return found
