"""How the numbers are taken: runs in turn (ours, reference, ours again, ...), medians, peak memory of one forward pass.

Machines drift. In turn, a slow minute hits everybody alike; and "ours" appears twice in each round, so that the ratio
of ours against ours, the A/A noise, says how much of a difference means nothing.
"""

import gc
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

Run = Callable[[], object]


@dataclass(frozen=True)
class Work:
    """One line of the table.

    Args:
        name: what is computed, "ViT-B/16 224 px, one picture".
        builders: who -> a function that makes the model and its input and returns one run. "ours" is one of them.
        bar: the most that time(ours) / time(fastest reference) may be.
        memory_bar: the same for peak memory; None: not judged.
        rounds: counted rounds.
        note: what a reader must know to read the line rightly.
    """

    name: str
    builders: dict[str, Callable[[], Run]]
    bar: float
    memory_bar: float | None = 1.03
    rounds: int = 9
    note: str = ""


def interleave(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Median seconds of each run; one round runs all of them in turn, the first round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def measure(work: Work) -> dict[str, object]:
    """One row: milliseconds, ratio, noise, megabytes, whether the bars hold."""
    with torch.inference_mode():
        runs = {name: build() for name, build in work.builders.items()}
        runs["ours again"] = runs["ours"]
        seconds = interleave(runs, work.rounds)
    runs.clear()
    gc.collect()
    references = {name: value for name, value in seconds.items() if not name.startswith("ours")}
    fastest = min(references, key=references.__getitem__)
    ratio = (seconds["ours"] + seconds["ours again"]) / 2 / references[fastest]
    row: dict[str, object] = {
        "work": work.name,
        "reference": fastest,
        "ours_ms": 1000 * (seconds["ours"] + seconds["ours again"]) / 2,
        "reference_ms": 1000 * references[fastest],
        "others_ms": {name: 1000 * value for name, value in references.items() if name != fastest},
        "ratio": ratio,
        "noise": max(seconds["ours"], seconds["ours again"]) / min(seconds["ours"], seconds["ours again"]),
        "bar": work.bar,
        "memory_bar": work.memory_bar,
        "note": work.note,
        "ok": ratio <= work.bar,
    }
    if work.memory_bar is not None:
        megabytes = {name: peak_in_a_process(work.name, name) for name in work.builders}
        least = min(value for name, value in megabytes.items() if name != "ours")
        row |= {"ours_mb": megabytes["ours"], "reference_mb": least, "memory_ratio": megabytes["ours"] / least}
        row["ok"] = bool(row["ok"]) and megabytes["ours"] <= work.memory_bar * least
    return row


def peak_in_a_process(work: str, who: str) -> float:
    """Peak memory in MB of one forward pass, measured in a fresh process so that nothing of the others is counted."""
    command = [sys.executable, "-m", "tests.benchmarks", "--peak", work, who]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring {who} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def peak(build: Callable[[], Run]) -> float:
    """MB that weights, input and one forward pass take at their highest, on top of the imported libraries.

    The first pass warms up (one-time buffers); then the kernel's high-water mark is set back and a second pass is
    measured.
    """
    before = resident()
    with torch.inference_mode():
        run = build()
        run()
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # set the high-water mark to the present size
        run()
    return status("VmHWM") - before


def resident() -> float:
    """Present size of this process in MB."""
    return status("VmRSS")


def status(key: str) -> float:
    """One line of /proc/self/status in MB (Linux)."""
    match = re.search(rf"^{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    if match is None:
        raise RuntimeError(f"no {key} in /proc/self/status: peak memory is measured on Linux alone")
    return int(match[1]) / 1024


def machine() -> str:
    """The machine in words, without its name."""
    cpus = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpus.read_text()) if cpus.exists() else None
    name = model[1] if model else platform.processor()
    return f"{name}, {os.cpu_count()} cores, one thread used; torch {torch.__version__}"
