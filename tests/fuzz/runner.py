"""Many cases in child processes: a hang or a crash costs one child, and is put down to the case it was at.

This process prepares everything once (imports, small models, files to damage) and then forks: a child begins with all
of it, tries some cases, tells of each before and after, and ends.
"""

import faulthandler
import json
import os
import resource
import select
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.cases import Case, Target
from tests.fuzz.judge import Verdict, judge

LANE = 1_000_000_000  # cases of a target that one child tries at a time; a second beside it has others
BATCH = 8.0  # seconds after which a child ends and another begins, with clean memory
ROOM = 6 << 30  # bytes of address space that a child may take beyond what it began with
PATIENCE = 45.0  # seconds without an answer, whatever the child does: it may wait for something that never comes


@dataclass
class Tally:
    """What came of the cases of one target."""

    tries: int = 0
    seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)


@dataclass
class Slot:
    """One child and what it is at."""

    target: Target
    pid: int
    pipe: int
    cases: Callable[[int], Case]
    began: float
    lane: int = 0
    number: int | None = None
    since: float = 0.0
    spent: float = 0.0
    rest: bytes = b""

    def hangs(self) -> bool:
        """Whether its case takes twice the processor time that it may, or waits for ever."""
        waited = time.monotonic() - self.since
        return waited > self.target.seconds and (
            processor_time(self.pid) - self.spent > 2 * self.target.seconds
            or waited > PATIENCE + 2 * self.target.seconds
        )


Found = Callable[[Case, Verdict], None]


class Runner:
    """Tries cases until the time is over.

    Args:
        targets: what to try, prepared.
        seed: of all cases.
        found: called with each finding.
        workers: children at a time.
    """

    def __init__(self, targets: Sequence[Target], seed: str, found: Found, workers: int = 2):
        self.targets, self.seed, self.found, self.workers = list(targets), seed, found, workers
        self.tallies = {target.name: Tally() for target in targets}
        self.next: dict[tuple[str, int], int] = {}  # of each target and lane: the number of the next case
        self.slots: list[Slot] = []

    def run(self, seconds: float) -> None:
        """Try for so long. Ctrl-C ends it early."""
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end or self.slots:
                while len(self.slots) < self.workers and time.monotonic() < end:
                    self.start(end)
                self.listen()
        finally:
            for slot in self.slots:
                os.kill(slot.pid, signal.SIGKILL)
                os.waitpid(slot.pid, 0)

    def start(self, end: float) -> None:
        """A child for the target that had the least of its share."""
        busy = Counter(slot.target.name for slot in self.slots)

        def had(target: Target) -> float:
            return (self.tallies[target.name].seconds + BATCH * busy[target.name]) / target.share

        target = min(self.targets, key=had)
        lane = min({*range(self.workers)} - {slot.lane for slot in self.slots if slot.target is target})
        first = self.next.setdefault((target.name, lane), lane * LANE)
        until = min(end, time.monotonic() + BATCH)
        self.fork(target, lambda number: target.case(self.seed, number), range(first, first + LANE), until, lane)

    def fork(
        self, target: Target, cases: Callable[[int], Case], numbers: Iterable[int], until: float, lane: int = 0
    ) -> None:
        """A child that tries these cases."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(reading)
                child(target, cases, numbers, until, writing)
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        self.slots.append(Slot(target, pid, reading, cases, time.monotonic(), lane, since=time.monotonic()))

    def listen(self) -> None:
        """Read what children tell; end those that hang, bury those that ended."""
        ready, _, _ = select.select([slot.pipe for slot in self.slots], [], [], 0.2)
        for slot in list(self.slots):
            if slot.pipe in ready and not self.read(slot):
                self.bury(slot)
            elif slot.number is not None and slot.hangs():
                os.kill(slot.pid, signal.SIGKILL)
                self.bury(slot, hung=True)

    def read(self, slot: Slot) -> bool:
        """Take what a child told; False when it told its last."""
        data = os.read(slot.pipe, 1 << 16)
        *lines, slot.rest = (slot.rest + data).split(b"\n")
        for line in lines:
            about = json.loads(line)
            if "at" in about:
                slot.number, slot.since, slot.spent = about["at"], time.monotonic(), processor_time(slot.pid)
            else:
                self.take(slot, Verdict(**about))
        return bool(data)

    def take(self, slot: Slot, verdict: Verdict) -> None:
        """Count a verdict, and tell of a finding."""
        number, slot.number = slot.number, None
        if number is not None:
            self.next[slot.target.name, slot.lane] = number + 1
        tally = self.tallies[slot.target.name]
        tally.tries += 1
        tally.kinds[verdict.kind] += 1
        if verdict.bad and number is not None:
            self.found(slot.cases(number), verdict)

    def bury(self, slot: Slot, hung: bool = False) -> None:
        """A child has ended, or was ended."""
        _, status = os.waitpid(slot.pid, 0)
        os.close(slot.pipe)
        self.slots.remove(slot)
        if slot.number is not None:
            name = slot.target.name
            if hung:
                verdict = Verdict("hang", f"hang: {name}", f"no answer in {time.monotonic() - slot.since:.0f} s")
            else:
                verdict = Verdict("crash", f"crash: {name}", f"the process ended with status {status}")
            self.take(slot, verdict)
        self.tallies[slot.target.name].seconds += time.monotonic() - slot.began


def processor_time(pid: int) -> float:
    """Seconds that a process has computed; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def child(target: Target, cases: Callable[[int], Case], numbers: Iterable[int], until: float, pipe: int) -> None:
    """In the child: try the cases of these numbers until the time is over."""
    faulthandler.disable()  # a crash is told by the parent
    with suppress(ValueError, OSError):  # what a system does not have, it does not limit
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)

    def tell(about: dict[str, Any]) -> None:
        os.write(pipe, json.dumps(about).encode() + b"\n")

    for number in numbers:
        tell({"at": number})
        verdict = judge(cases(number), target)
        tell(verdict.to_json())
        if time.monotonic() > until or verdict.kind in ("memory", "slow"):
            break


def replay(cases: Sequence[Case], targets: dict[str, Target]) -> list[Verdict]:
    """Each case in a child of its own."""
    verdicts: list[Verdict] = []
    for case in cases:
        target = targets[case.target]
        seen: list[Verdict] = []
        runner = Runner([target], "", lambda _, verdict, seen=seen: seen.append(verdict), workers=1)
        runner.fork(target, lambda _, case=case: case, [0], time.monotonic() + 1)
        while runner.slots:
            runner.listen()
        kind = next(iter(runner.tallies[target.name].kinds), "crash")
        verdicts.append(seen[0] if seen else Verdict(kind))
    return verdicts
