"""In the place of a tokenizer that is not here."""

from typing import Any

from minimodels.errors import UserError


class NoTokenizer:
    """Stands where a model's tokenizer would: whoever wants to read a text is told why there is none.

    Args:
        why: the message, a whole sentence.
    """

    def __init__(self, why: str) -> None:
        self.why = why

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Raises UserError, always."""
        raise UserError(self.why)

    def encode(self, text: str) -> list[int]:
        """Raises UserError, always."""
        raise UserError(self.why)


KINDS = {"none": NoTokenizer}  # how a stored model names its tokenizer
