"""The exercises of a lesson as a section of its page: task, commands, folded hints by symptom, folded solution.

Everything comes from the exercises' files, which the tests run; nothing is typed twice or needs torch.
"""

import html
import re
import textwrap
from collections.abc import Callable

from lessons.book.text import BookError
from lessons.checker.exercises import Exercise, catalogue, of_lesson

_LIBRARY_CALL = re.compile(
    r"(?<![`\w.])(?:torch|timm|transformers|open_clip|torchvision|np|F)\.[\w.]*\w(?:\((?:[^()]|\([^()]*\))*\))?"
)


def directives(lesson: str) -> dict[str, Callable[[str, str], str]]:
    """`::exercises` for all exercises of the lesson, `::exercise 2.1.2` for one of them."""
    return {
        "exercises": lambda rest, body: exercises(rest.strip() or lesson),
        "exercise": lambda rest, body: exercise(rest.strip()),
    }


def exercises(lesson: str) -> str:
    """All exercises of a lesson ("2.1"), one after the other; empty when it has none."""
    several = of_lesson(lesson)
    if not several:
        return ""
    steps = {"start": "copies the stubs into my/", "check": "runs the checks", "hint": "gives the next hint"}
    commands = "\n".join(f"python -m lessons {step:5} {lesson}    # {what}" for step, what in steps.items())
    return "\n\n".join([f"``` sh\n{commands}\n```", *(exercise(one.number) for one in several)])


def exercise(number: str) -> str:
    """One exercise as Markdown."""
    if number not in catalogue():
        raise BookError(f"there is no exercise {number} (known: {', '.join(catalogue())})")
    one = catalogue()[number]
    facts = [f"{one.minutes} minutes", f"difficulty {one.difficulty} of 5", f"`python -m lessons start {one.number}`"]
    parts = [f'### <span class="number">{one.number}</span> {one.title}']
    parts += [
        '<div class="facts" markdown="1" data-search-exclude="">\n\n'
        + "\n".join(f"- {fact}" for fact in facts)
        + "\n\n</div>"
    ]
    parts += [markdown(one.task), *([_code(_functions(one))] if one.find_the_bug else [])]
    folds = [_fold("hint", symptom, markdown(text)) for symptom, text in one.hints]
    folds += [_fold("abstract", "Our solution", _code(one.solution))]
    return "\n\n".join([*parts, '<div class="folds" markdown="1">', *folds, "</div>"])


def markdown(text: str) -> str:
    """Plain text of a docstring as Markdown: indented blocks and calls of libraries become code, all else is plain."""
    paragraphs = re.split(r"\n\s*\n", text.strip("\n"))
    return "\n\n".join(_paragraph(paragraph) for paragraph in paragraphs)


def _paragraph(text: str) -> str:
    if all(line.startswith("    ") for line in text.splitlines()):
        return f"``` text\n{textwrap.dedent(text)}\n```"
    pieces = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(piece if number % 2 else _escaped(piece) for number, piece in enumerate(pieces))


def _escaped(text: str) -> str:
    out, end = [], 0
    for call in _LIBRARY_CALL.finditer(text):
        out += [_quiet(text[end : call.start()]), f"`{call[0]}`"]
        end = call.end()
    return "".join([*out, _quiet(text[end:])])


def _quiet(text: str) -> str:
    """No character is markup: backslashes before Markdown's signs, entities for HTML's."""
    return re.sub(r"([\\*_\[\]{}#$|])", r"\\\1", html.escape(text, quote=False))


def _functions(one: Exercise) -> str:
    """The stub without its docstring and imports."""
    start = min(found for name in one.functions if (found := one.stub.find(f"def {name}(")) >= 0)
    return one.stub[start:].rstrip()


def _code(code: str) -> str:
    return f"``` python\n{code}\n```"


def _fold(kind: str, title: str, body: str) -> str:
    title = html.escape(title, quote=False).replace('"', "'")
    return f'??? {kind} "{title}"\n\n' + textwrap.indent(body, "    ")
