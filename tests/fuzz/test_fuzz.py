"""The fuzz run itself: each kind of fault, planted, is found, told once a cause, and put down to the right case."""

import os
import signal
import sys
import time
from random import Random

import pytest

from minimodels.errors import UserError
from minimodels.errors.untrusted import reading
from tests.fuzz.cases import Case, Target, Wrong, all_targets
from tests.fuzz.command import command
from tests.fuzz.judge import judge
from tests.fuzz.odd import damaged, odd_config
from tests.fuzz.runner import Runner, replay


def target(run, **limits):
    return Target(
        "planted", lambda rng: ({"number": rng.random()}, {"a/file": b"x"}), run, **{"seconds": 1.0, **limits}
    )


def raises(error):
    def run(values, folder):
        raise error

    return run


class Talker(UserError):
    def __init__(self):
        super().__init__("")

    def __str__(self):
        return "two\nlines"


def unforeseen(values, folder):
    with reading("a file"):
        raise KeyError("what")


def leaves(values, folder):
    (folder / ".out.png.abcd.png").write_bytes(b"")


def takes_memory(values, folder):
    assert len(bytearray(os.urandom(1)) * (1 << 30))  # well above what the process may have had before


def computes(values, folder):
    end = time.process_time() + 1.5
    while time.process_time() < end:
        pass


@pytest.mark.parametrize(
    "run, kind",
    [
        (lambda values, folder: "read", "read"),
        (raises(UserError("one line")), "refused"),
        (raises(Talker()), "message"),
        (raises(KeyError("x")), "traceback"),
        (raises(RecursionError()), "traceback"),
        (raises(MemoryError()), "memory"),
        (raises(Wrong("other numbers: a")), "wrong"),
        (raises(SystemExit(1)), "traceback"),
        (unforeseen, "unforeseen"),
        (leaves, "leftover"),
        (computes, "slow"),
    ],
)
def test_a_planted_fault_is_seen(run, kind):
    verdict = judge(Case("planted", {}, {"a/file": b"x"}), target(run))
    assert verdict.kind == kind
    assert verdict.bad == (kind not in ("read", "refused"))


@pytest.mark.parametrize(
    "run, kind, patience",
    [
        (lambda values, folder: time.sleep(100), "hang", 0.5),
        (lambda values, folder: os.kill(os.getpid(), signal.SIGSEGV), "crash", 60),
        (takes_memory, "memory", 60),
    ],
)
def test_what_a_process_does_not_survive(run, kind, patience, monkeypatch):
    monkeypatch.setattr("tests.fuzz.runner.PATIENCE", patience)
    planted = target(run, seconds=1.0 if kind == "hang" else 20.0)
    assert [verdict.kind for verdict in replay([Case("planted")], {"planted": planted})] == [kind]


def test_a_run_finds_the_one_bad_case_and_makes_it_again():
    def run(values, folder):
        if values["number"] < 0.02:
            os.kill(os.getpid(), signal.SIGKILL)
        return "fine"

    found = []
    planted = target(run)
    runner = Runner([planted], "7", lambda case, verdict: found.append((case, verdict)), workers=2)
    runner.run(3.0)
    assert found and all(case.values["number"] < 0.02 and verdict.kind == "crash" for case, verdict in found)
    tally = runner.tallies["planted"]
    assert tally.kinds["crash"] == len(found) and tally.tries > 20
    again = planted.case("7", 0)
    assert again == planted.case("7", 0) != planted.case("8", 0)


def test_a_case_survives_its_file(tmp_path):
    case = Case("planted", {"text": "\ud800\0", "numbers": [1, float("inf")]}, {"a/b": bytes(range(256))})
    path = case.keep(tmp_path)
    assert path.name.startswith("planted-")
    assert Case.from_json(path.read_text("utf-8")) == case


def test_targets_make_the_same_cases_again():
    """Whatever can be made without the small models: names are unique, and a number names one case."""
    targets = all_targets()
    assert len(targets) > 30
    for name in ("attack-deep-key", "pickle-zip", "header", "records"):
        first, again = targets[name].case("1", 5), targets[name].case("1", 5)
        assert first.to_json() == again.to_json() and first.to_json() != targets[name].case("1", 6).to_json()


def test_damage_and_odd_configs_change_something():
    rng = Random(0)
    data = bytes(range(200))
    assert sum(damaged(rng, data, [b"other" * 50]) != data for _ in range(300)) > 270
    config = {"a": 1, "b": {"c": [1, 2], "d": "gelu"}, "e": True}
    assert sum(odd_config(rng, config)[0] != config for _ in range(300)) > 270
    assert config == {"a": 1, "b": {"c": [1, 2], "d": "gelu"}, "e": True}


@pytest.mark.parametrize(
    "code, out, err",
    [
        (0, "", "error: x\n"),
        (2, "", ""),
        (2, "", "error: x\nmore\n"),
        (0, "\x1b[2J", ""),
        (3, "", ""),
        (2, "", "error: a\nerror: b\n"),
    ],
)
def test_how_a_command_may_not_end(code, out, err):
    def main(words):
        print(out, end="")
        print(err, end="", file=sys.stderr)
        return code

    with pytest.raises(Wrong):
        command(main)


def test_how_a_command_may_end():
    assert command(lambda words: print("é", *words) or 0, "a")[0] == 0
    assert command(lambda words: print("note: n\nerror: no", file=sys.stderr) or 2)[0] == 2
    with pytest.raises(UnicodeEncodeError):
        command(lambda words: print("\ud800"))


def test_a_longer_run_tries_the_cases_of_a_shorter_one_and_more(monkeypatch):
    """However fast the machine is: a child goes on where the one before it ended, also one that was killed."""

    def run(values, folder):
        if values["number"] < 0.01:
            os.kill(os.getpid(), signal.SIGKILL)
        raise Wrong("seen")

    monkeypatch.setattr("tests.fuzz.runner.BATCH", 0.2)
    found, planted = [], target(run)
    runner = Runner([planted], "7", lambda case, verdict: found.append(case), workers=1)
    runner.run(4.0)
    assert len(found) > 10 and found == [planted.case("7", number) for number in range(len(found))]
