"""Diagrams as SVG text and tables of numbers, for lessons and for the site: no library, no network, readable on light
and dark pages.

    drawing = Drawing(420, 90, "A picture is cut into patches and each becomes a token")
    picture = drawing.box(10, 25, 90, 40, "picture")
    tokens = drawing.box(180, 25, 90, 40, "tokens", "(B, N, D)", tone="blue")
    drawing.arrow(picture, tokens, "patchify")
    show(drawing)

Lines and letters take the page's text colour (`currentColor`); the tones are the page's own (docs/css/book.css), with a
fixed colour as fallback where the drawing stands alone. The title is the text a screen reader says.
"""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple

TONES = {
    "blue": "#3b6ea8",
    "rust": "#b4531a",
    "green": "#3f7d4e",
    "gold": "#a07a1c",
    "plum": "#7d4a86",
    "grey": "#808890",
}

recorder: Callable[[Any], None] | None = None  # set by lessons/book/runner.py while a page is recorded


def show(thing: Any) -> None:
    """Show a drawing or a table where the reader is: on the page being recorded, in a notebook, else as text."""
    if recorder is not None:
        return recorder(thing)
    try:
        from IPython import get_ipython  # type: ignore[import-not-found]
        from IPython.display import display  # type: ignore[import-not-found]
    except ImportError:
        return print(thing)
    if get_ipython() is None:
        return print(thing)
    display(thing)


class Box(NamedTuple):
    """A rectangle in a drawing, to hang arrows on."""

    x: float
    y: float
    width: float
    height: float

    def edge(self, towards: tuple[float, float]) -> tuple[float, float]:
        """The middle of the side that looks towards a point."""
        middle_x, middle_y = self.x + self.width / 2, self.y + self.height / 2
        away_x, away_y = towards[0] - middle_x, towards[1] - middle_y
        if abs(away_x) * self.height >= abs(away_y) * self.width:
            return middle_x + math.copysign(self.width / 2, away_x), middle_y
        return middle_x, middle_y + math.copysign(self.height / 2, away_y)

    @property
    def middle(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2


class Drawing:
    """An SVG picture built shape by shape; coordinates in pixels from the top left, letters 13 pixels high."""

    def __init__(self, width: float, height: float, title: str):
        self.width, self.height, self.title = width, height, title
        self.parts: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 13,
        anchor: str = "middle",
        tone: str = "",
        mono: bool = False,
    ) -> None:
        """Words whose middle (`anchor` start, middle, end) stands at x, with the centre line of the letters at y."""
        family = ' font-family="ui-monospace, Menlo, Consolas, monospace"' if mono else ""
        fill = _colour(tone) if tone else "currentColor"
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" dominant-baseline="central"'
            f'{family} style="fill:{fill}">{escape(words)}</text>'
        )

    def box(
        self, x: float, y: float, width: float, height: float, words: str = "", below: str = "", *, tone: str = "grey"
    ) -> Box:
        """A rounded rectangle with a line of words, and a smaller monospaced line below them (a shape, mostly)."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" stroke-width="1.4"'
            f' style="fill:{_colour(tone)};fill-opacity:.13;stroke:{_colour(tone)}"/>'
        )
        middle = y + height / 2
        if words:
            self.text(x + width / 2, middle - (8 if below else 0), words)
        if below:
            self.text(x + width / 2, middle + (9 if words else 0), below, size=11, mono=True)
        return Box(x, y, width, height)

    def arrow(
        self,
        start: Box | tuple[float, float],
        end: Box | tuple[float, float],
        words: str = "",
        *,
        tone: str = "",
        dashed: bool = False,
    ) -> None:
        """A line from one box (or point) to another with a head at its end, and words above its middle."""
        x1, y1 = start.edge(_point(end)) if isinstance(start, Box) else start
        x2, y2 = end.edge(_point(start)) if isinstance(end, Box) else end
        colour = _colour(tone) if tone else "currentColor"
        angle = math.atan2(y2 - y1, x2 - x1)
        head = " ".join(
            f"{x2 - 8 * math.cos(angle + turn):.1f},{y2 - 8 * math.sin(angle + turn):.1f}" for turn in (0.42, -0.42)
        )
        tip_x, tip_y = x2 - 6 * math.cos(angle), y2 - 6 * math.sin(angle)
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self.parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{tip_x:.1f}" y2="{tip_y:.1f}" stroke-width="1.4"{dash}'
            f' style="stroke:{colour}"/>'
            f'<polygon points="{x2:g},{y2:g} {head}" style="fill:{colour}"/>'
        )
        if words:
            upright = abs(y2 - y1) > abs(x2 - x1)
            x, y = (x1 + x2) / 2 + (8 if upright else 0), (y1 + y2) / 2 - (0 if upright else 11)
            self.text(x, y, words, size=11, anchor="start" if upright else "middle")

    def grid(self, x: float, y: float, cell: float, values: Sequence[Sequence[float]], *, tone: str = "blue") -> Box:
        """A matrix of squares, each filled as strongly as its value between 0 and 1."""
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                self.parts.append(
                    f'<rect x="{x + column * cell:g}" y="{y + row * cell:g}" width="{cell:g}" height="{cell:g}"'
                    f' stroke-width=".7" style="fill:{_colour(tone)};fill-opacity:{min(max(value, 0), 1):.2f};'
                    f'stroke:currentColor;stroke-opacity:.35"/>'
                )
        return Box(x, y, cell * len(values[0]), cell * len(values))

    def raw(self, svg: str) -> None:
        """Any other SVG element; use `currentColor` for what must be seen on light and dark pages."""
        self.parts.append(svg)

    def _repr_svg_(self) -> str:
        body = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="diagram" role="img" aria-label="{escape(self.title)}"'
            f' viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}" height="{self.height:g}"'
            f' font-family="system-ui, sans-serif">\n{body}\n</svg>'
        )

    def __repr__(self) -> str:
        return f"[drawing: {self.title}]"


class Table:
    """Rows under headings: a real table on the page, aligned columns in a terminal. Round floats yourself."""

    def __init__(self, headings: Sequence[str], rows: Sequence[Sequence[Any]]):
        self.headings, self.rows = list(headings), [[str(cell) for cell in row] for row in rows]
        uneven = [row for row in self.rows if len(row) != len(self.headings)]
        if uneven:
            raise ValueError(f"{len(self.headings)} headings, but a row of {len(uneven[0])} cells: {uneven[0]}")

    def _numeric(self, column: int) -> bool:
        cells = [row[column].strip(" %x<>=~") for row in self.rows]
        return bool(cells) and all(_is_number(cell) for cell in cells if cell)

    def _repr_markdown_(self) -> str:
        rule = ["---:" if self._numeric(number) else ":---" for number in range(len(self.headings))]
        lines = [self.headings, rule, *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)

    def __repr__(self) -> str:
        table = [self.headings, *self.rows]
        widths = [max(len(line[number]) for line in table) for number in range(len(self.headings))]
        right = [self._numeric(number) for number in range(len(self.headings))]
        lines = [
            "  ".join(
                cell.rjust(width) if end else cell.ljust(width) for cell, width, end in zip(line, widths, right)
            ).rstrip()
            for line in table
        ]
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _colour(tone: str) -> str:
    return f"var(--book-{tone}, {TONES[tone]})"


def _point(place: Box | tuple[float, float]) -> tuple[float, float]:
    return place.middle if isinstance(place, Box) else place


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ""))
    except ValueError:
        return False
    return True
