"""A small report as one HTML file: pictures inside, no scripts, light and dark, readable on a phone.

Every function gives a piece of HTML and escapes the words it is given; in them `backticks` become code. `page` joins
the pieces.
"""

import base64
import html
import io
import re
from collections.abc import Sequence

from PIL import Image

STYLE = """
:root { color-scheme: light dark; --page: #fbfaf7; --card: #fff; --ink: #1f2328; --soft: #59636e; --line: #dcd9d0;
  --right: #0072b2; --wrong: #b34e00; --track: #ece9e1; }
@media (prefers-color-scheme: dark) {
  :root { --page: #15181c; --card: #1e2227; --ink: #e6e8eb; --soft: #9ba5b0; --line: #363c44;
    --right: #56b4e9; --wrong: #f0913d; --track: #2d333a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.35rem; margin: 2.8rem 0 .4rem; line-height: 1.25; }
h3 { font-size: 1rem; margin: 1.6rem 0 .5rem; }
p { max-width: 44rem; margin: .6rem 0; }
.lead, figcaption, .note { color: var(--soft); }
.summary { font-weight: 600; }
.cards { --gap: .9rem; display: grid; gap: var(--gap); margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(max(8.5rem, (100% - 4 * var(--gap)) / 5), 1fr)); }
.cards.wide { grid-template-columns: repeat(auto-fill, minmax(max(8.5rem, (100% - 2 * var(--gap)) / 3), 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .6rem;
  min-width: 0; }
figure img { display: block; width: 100%; height: auto; border-radius: .35rem; }
figcaption { font-size: .9rem; line-height: 1.35; margin-top: .45rem; overflow-wrap: anywhere; }
.mark { font-weight: 700; white-space: nowrap; } .yes { color: var(--right); } .no { color: var(--wrong); }
.bars { list-style: none; margin: .5rem 0 0; padding: 0; font-size: .82rem; line-height: 1.35; }
.bars li { display: grid; grid-template-columns: 1fr auto; gap: .1rem .25rem; margin-top: .35rem; }
.bars span { min-width: 0; overflow-wrap: break-word; }
.bars .track { grid-column: 1 / -1; height: .4rem; border-radius: .2rem; background: var(--track); overflow: hidden; }
.bars .fill { display: block; height: 100%; background: var(--soft); }
.bars .yes .fill { background: var(--right); } .bars .no .fill { background: var(--wrong); }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.number { text-align: right; } td.number { white-space: nowrap; } td:first-child { min-width: 8rem; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem;
  overflow-x: auto; font-size: .9rem; line-height: 1.45; }
code { font: .9em ui-monospace, monospace; } pre code { font-size: 1em; }
details { margin: .4rem 0; } summary { cursor: pointer; }
"""


def words(text: str) -> str:
    """Escaped text; what stands in backticks becomes code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; `kind` "lead", "summary" or "note" sets its look."""
    return f'<p class="{kind}">{words(text)}</p>' if kind else f"<p>{words(text)}</p>"


def heading(text: str) -> str:
    """A small heading inside a section."""
    return f"<h3>{words(text)}</h3>"


def mark(right: bool) -> str:
    """A tick or a cross, said in words as well: colour alone tells nobody everything."""
    return '<span class="mark yes">✓ right</span>' if right else '<span class="mark no">✗ wrong</span>'


def figure(picture: Image.Image, alt: str, below: str = "") -> str:
    """A picture inside the page; `below` is HTML: a caption, bars."""
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, "JPEG", quality=88, subsampling=0)
    data = base64.b64encode(stream.getvalue()).decode()
    size = f'width="{picture.width}" height="{picture.height}"'
    return f'<figure><img src="data:image/jpeg;base64,{data}" alt="{html.escape(alt)}" {size}>{below}</figure>'


def caption(text: str, right: bool | None = None) -> str:
    """The words under a picture, with a tick or cross where there is something to judge."""
    return f"<figcaption>{words(text)} {'' if right is None else mark(right)}</figcaption>"


def bars(rows: Sequence[tuple[str, float]], right: str) -> str:
    """Labels with their shares (0-1) as bars; the first one, the answer, is coloured as right or wrong."""
    items = []
    for place, (label, share) in enumerate(rows):
        kind = "" if place else f' class="{"yes" if label == right else "no"}"'
        fill = f'<span class="track"><span class="fill" style="width:{share:.1%}"></span></span>'
        items.append(f"<li{kind}><span>{words(label)}</span><span>{share:.1%}</span>{fill}</li>")
    return f'<ul class="bars">{"".join(items)}</ul>'


def cards(figures: Sequence[str], kind: str = "") -> str:
    """Figures side by side, as many as fit."""
    return f'<div class="cards {kind}">{"".join(figures)}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], about: str = "") -> str:
    """A table that scrolls sideways where it is too wide; columns of numbers stand to the right."""
    kinds = [' class="number"' if rows and all(cell[:1].isdigit() for cell in column) else "" for column in zip(*rows)]
    first = "".join(f'<th scope="col"{kind}>{words(cell)}</th>' for cell, kind in zip(head, kinds))
    lines = "".join(
        f"<tr>{''.join(f'<td{kind}>{words(cell)}</td>' for cell, kind in zip(row, kinds))}</tr>" for row in rows
    )
    title = f"<caption>{words(about)}</caption>" if about else ""
    content = f"<table>{title}<thead><tr>{first}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{content}</div>'


def details(summary: str, content: str) -> str:
    """Something to unfold."""
    return f"<details><summary>{words(summary)}</summary>{content}</details>"


def commands(lines: Sequence[str]) -> str:
    """Commands to copy."""
    return f'<pre tabindex="0"><code>{html.escape(chr(10).join(lines))}</code></pre>'


def page(title: str, pieces: Sequence[str]) -> str:
    """The whole file."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{html.escape(title)}</h1>
{chr(10).join(pieces)}
</main>
</body>
</html>
"""
