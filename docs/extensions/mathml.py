"""A Markdown extension: $...$ and $$...$$ become MathML while the page is built; the reader's browser runs nothing.

pymdownx.arithmatex finds the formulas, latex2mathml translates them. Browsers know the core of MathML only, so letters
in bold, double-struck or script become their own Unicode characters, and names such as MSA lose an operator's wide
spaces. A formula that cannot be translated stops the build.
"""

import html
import re
import unicodedata
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor

# Spellings that latex2mathml does not know, or does not set upright -> the same in words that it does.
SPELLINGS = [
    (r"\\(begin|end)\{(?:aligned|split)\}", r"\\\1{align*}"),
    (r"\\[bB]igg?[lr]?(?=\\[lr][vV]ert)", ""),
    (r"\\lVert(?![a-zA-Z])", r"\\left\\|"),
    (r"\\rVert(?![a-zA-Z])", r"\\right\\|"),
    (r"\\lvert(?![a-zA-Z])", r"\\left|"),
    (r"\\rvert(?![a-zA-Z])", r"\\right|"),
    (r"\\arg(?![a-zA-Z])", r"\\operatorname{arg}"),
    (r"\\operatorname\*", r"\\operatorname"),
    (r"\\mathrm(?![a-zA-Z])", r"\\text"),
]
STYLES = {"bold", "italic", "bold-italic", "double-struck", "script", "fraktur", "sans-serif", "monospace"}


def to_mathml(tex: str, block: bool) -> ElementTree.Element:
    """One formula as a <math> element."""
    spelled = tex
    for pattern, replacement in SPELLINGS:
        spelled = re.sub(pattern, replacement, spelled)
    try:
        math = ElementTree.fromstring(convert(spelled, display="block" if block else "inline"))
    except Exception as error:
        raise SystemExit(f"math: cannot translate {tex!r}: {type(error).__name__} {error}") from error
    for node in math.iter():
        node.tag = node.tag.rpartition("}")[2]  # HTML knows no namespaces
        if re.match(r"\\[a-zA-Z]", node.text or ""):
            raise SystemExit(f"math: unknown command {node.text} in {tex!r}")
        if node.get("mathvariant") in STYLES:
            node.text = "".join(styled(letter, node.attrib["mathvariant"]) for letter in node.text or "")
            del node.attrib["mathvariant"]
        if node.tag == "mo" and (node.text or "").strip().isalpha() and len((node.text or "").strip()) > 1:
            node.tag = "mi"
        if node.tag == "mtr":
            align_cells(list(node))
    math.set("alttext", " ".join(tex.split()))
    return math


def align_cells(cells: list[ElementTree.Element]) -> None:
    """Say with CSS what browsers ignore as `columnalign`, and close the gap at the sign in the middle."""
    sides = [cell.get("columnalign", "") for cell in cells]
    for cell, side, before in zip(cells, sides, ["", *sides]):
        if side:
            closed = {"right": ";padding-right:0", "left": ";padding-left:0" if before == "right" else ""}.get(side, "")
            cell.set("style", f"text-align:{side}{closed}")


def styled(letter: str, style: str) -> str:
    """The Unicode character of a letter in a mathematical style; the letter itself where there is none."""
    plain = re.sub(r"(LATIN|GREEK) (\w+) LETTER", r"\2", unicodedata.name(letter, ""))
    for name in (f"MATHEMATICAL {style} {plain}", f"{style} {plain}"):
        try:
            return unicodedata.lookup(name.upper().replace("BOLD-ITALIC", "BOLD ITALIC"))
        except KeyError:
            continue
    return letter


class _Formulas(Treeprocessor):
    def run(self, root: ElementTree.Element) -> None:
        for element in list(root.iter()):
            if element.get("class") == "arithmatex":
                tex = html.unescape((element.text or "").strip())[2:-2].strip()  # without \( \) or \[ \]
                element.text = None
                if element.tag == "div":
                    element.set("tabindex", "0")  # a wide formula scrolls, by keyboard too
                element.append(to_mathml(tex, element.tag == "div"))


class MathML(Extension):
    def extendMarkdown(self, md: Markdown) -> None:
        md.treeprocessors.register(_Formulas(md), "mathml", 5)  # after inline patterns (20) and prettify (10)


def makeExtension(**options: object) -> MathML:
    return MathML(**options)
