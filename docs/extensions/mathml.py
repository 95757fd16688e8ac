"""A Markdown extension: $...$ and $$...$$ become MathML while the page is built; nothing is left to do for the reader's
browser.

pymdownx.arithmatex finds the formulas, latex2mathml translates them. A formula that cannot be translated stops the
build.
"""

import html
import re
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor

# Spellings that latex2mathml does not know -> the same in words that it does.
SPELLINGS = [
    (r"\\(begin|end)\{(?:aligned|split)\}", r"\\\1{align*}"),
    (r"\\[lr]Vert(?![a-zA-Z])", r"\\|"),
    (r"\\arg(?![a-zA-Z])", r"\\operatorname{arg}"),
    (r"\\operatorname\*", r"\\operatorname"),
]


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
    math.set("alttext", " ".join(tex.split()))
    return math


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
