"""The result of checking one exercise: as plain text for a learner, as JSON for a teacher."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, field

LABEL, WIDTH = 18, 100
WORDS = {
    "passed": "passed",
    "failed": "not yet",
    "unwritten": "not written yet",
    "timeout": "stopped",
    "crashed": "stopped",
    "cannot run": "cannot run",
    "missing": "not started",
}


@dataclass
class Report:
    """What came out of one exercise.

    `status`: passed, failed (wrong or an exception), unwritten (still the stub), timeout, crashed (the file ended the
    process), missing (there is no file), or cannot run (a library is missing). `tasks` lists each function's status.
    """

    number: str
    title: str
    status: str
    headline: str = ""
    details: list[tuple[str, str]] = field(default_factory=list)
    diagnosis: str = ""
    fix: str = ""
    line: int | None = None
    tasks: list[tuple[str, str]] = field(default_factory=list)
    printed: str = ""
    seconds: float = 0.0
    file: str = ""

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    def as_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict) -> Report:
        pairs = {name: [tuple(pair) for pair in values[name]] for name in ("details", "tasks")}
        return cls(**{**values, **pairs})

    def text(self, next_step: str = "") -> str:
        """The report as the command line prints it."""
        head = f"{self.number:<6} {self.title}: {WORDS[self.status]}"
        if self.status == "passed":
            return f"{head} ({self.headline})" + self._printed()
        if self.status == "unwritten":
            return head + (f" ({self.headline})" if self.headline else "")
        lines = [head, "", *entry("what happened", self.headline)]
        for label, text in self.details:
            lines += entry(label, text)
        if self.diagnosis:
            lines += ["", *entry("diagnosis", self.diagnosis)]
            lines += entry("", self.fix)
        if next_step:
            lines += ["", *entry("next", next_step)]
        return "\n".join(lines) + self._printed()

    def _printed(self) -> str:
        if not self.printed.strip():
            return ""
        return "\n" + "\n".join(["", *entry("your file printed", self.printed.rstrip())])


def entry(label: str, text: str) -> list[str]:
    """A label in its column and text beside it, wrapped; lines of code keep their breaks."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        fits = len(paragraph) <= WIDTH - LABEL
        lines += [paragraph] if fits else textwrap.wrap(paragraph, WIDTH - LABEL, break_on_hyphens=False)
    return [f"  {label if at == 0 else '':<{LABEL}}{line}".rstrip() for at, line in enumerate(lines)]
