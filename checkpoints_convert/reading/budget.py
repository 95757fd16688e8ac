"""What reading one file may cost. A file of a few bytes can describe more than any machine holds; everything pays.

Instructions, values, letters of names and inflated bytes are paid from one `Budget`. Its size follows from the file's
own size and ends at a few million steps: a genuine checkpoint needs some thirty for each of its tensors.
"""

from typing import NoReturn

from checkpoints_convert.reading.values import Damaged

FLOOR, MOST = 1_000_000, 3_000_000  # steps: for the smallest file, and for any; one takes about half a microsecond
INFLATED = 16_000_000  # bytes that compressed records may unpack to, all together
DEEPEST = 100  # containers in each other
LONGEST_NAME = 1_000  # letters of a class, function, tensor or record
EXPANDED = 10_000_000  # values and letters beside the file's size, counting what is mentioned twice twice


class Budget:
    """Steps and bytes that are left; `Damaged` when they are spent.

    Args:
        size: bytes of the file.
    """

    def __init__(self, size: int):
        self.steps = min(MOST, FLOOR + size)
        self.inflated = INFLATED
        self.expanded = EXPANDED + size

    def pay(self, steps: int) -> None:
        """Take that many steps."""
        self.steps -= steps
        if self.steps < 0:
            self.spent()

    def spent(self) -> NoReturn:
        """No step is left."""
        raise Damaged("it describes more than a checkpoint holds: too many values for its size")

    def inflate(self, count: int) -> None:
        """Take that many bytes of unpacked text."""
        self.inflated -= count
        if self.inflated < 0:
            raise Damaged(f"its compressed records unpack to more than {INFLATED:,} bytes")
