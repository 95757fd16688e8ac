"""Files that ask for too much: each is read, or refused in one line, within bounded time and memory, without a crash.

Every file of `hostile.py` is read by a program of its own: a crash of the interpreter ends that program, a limit of its
memory and an alarm end what would fill the machine or never stop.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from checkpoints_convert.reading import budget
from checkpoints_convert.reading.budget import Budget
from checkpoints_convert.reading.files import read_tensors
from checkpoints_convert.reading.pickles import read_pickle
from checkpoints_convert.reading.values import Damaged
from minimodels.errors import UserError
from tests.converter import hostile

SCALES = {"zip: deep": 200_000, "archive": 20_000, "long": 20_000}  # where fewer would harm nobody; else 2,000
READER = """
import json, pathlib, resource, signal, sys, tempfile
from checkpoints_convert.reading.files import read_tensors
from minimodels.errors import UserError
from minimodels.errors.untrusted import Unreadable
from tests.converter import hostile

pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
most = pages * resource.getpagesize() + 700_000_000
resource.setrlimit(resource.RLIMIT_AS, (most, most))
signal.alarm(240)  # all of them together: one that never ends must not stop the tests
for name, scale in json.loads(sys.argv[1]):
    with tempfile.TemporaryDirectory() as folder:
        path = hostile.write(pathlib.Path(folder), name, scale)
        try:
            answer = sorted(read_tensors(path)) + ["read"]
        except Unreadable as error:
            answer = ["nobody foresaw: " + str(error)]
        except UserError as error:
            answer = [str(error)]
        print(json.dumps([name, *answer]), flush=True)
"""
# Odd, and harmless: each of them is a good tensor beside something small, or numbers that come to nothing.
READ = [
    *(f"{kind}: {name}" for kind in ("legacy", "zip") for name in (
        "empty sets", "empty dictionaries", "instances", "storages", "tensors", "one tensor often",
        "memory place far away")),
    "archive: code of underscores",
    "archive: many records",
]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="limits a program's memory")
def test_every_hostile_file_gets_its_answer():
    names = hostile.names()
    scales = [next((scale for word, scale in SCALES.items() if word in name), 2_000) for name in names]
    program = [sys.executable, "-c", READER, json.dumps(list(zip(names, scales)))]
    done = subprocess.run(program, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=300)
    answers = {name: answer for name, *answer in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0, (list(answers)[-1:], done.stderr[-500:])
    assert list(answers) == names
    wrong = {
        name: answer
        for name, answer in answers.items()
        if (answer == ["w", "read"]) != (name in READ) or len(answer[0]) > 500 or "nobody foresaw" in answer[0]
    }
    assert not wrong
    assert all(line.isprintable() for answer in answers.values() for line in answer)


class TestBudget:
    def test_steps_follow_from_the_size_and_end(self):
        assert Budget(0).steps == 1_000_000
        assert Budget(500).steps == 1_000_500
        assert Budget(10**12).steps == 3_000_000

    def test_the_last_step_may_be_taken(self):
        purse = Budget(0)
        purse.pay(1_000_000)
        with pytest.raises(Damaged, match="too many values"):
            purse.pay(1)

    def test_each_instruction_costs_one(self):
        program = b"\x80\x02" + b"N0" * 10 + b"N."
        purse = Budget(0)
        purse.steps = 23
        assert read_pickle(program, purse) == (None, len(program))
        purse.steps = 22
        with pytest.raises(Damaged, match="too many values"):
            read_pickle(program, purse)

    def test_inflated_bytes(self):
        purse = Budget(0)
        purse.inflate(16_000_000)
        with pytest.raises(Damaged, match="unpack to more than 16,000,000 bytes"):
            purse.inflate(1)

    @pytest.mark.parametrize(
        "program, cost",
        [
            (b"ctorch\nSize\n(" + b"N" * 100 + b"l\x85R.", 100 + 8 + 1 + 100 + 6),
            (b"ctorch\nSize\n(" + b"N" * 100 + b"t0)R.", 100 + 8 + 7),
            (b"(" + b"N" * 100 + b"tq\x000cbuiltins\nfrozenset\nh\x00\x85R.", 100 + 8 + 1 + 100 + 9),
            (b"c_codecs\nencode\n" + hostile.text("a" * 100) + b"\x85R.", 8 + 1 + 100 + 5),
            (b"\x8f.", 8 + 2),
            (b"(\x91.", 8 + 3),
            (hostile.storage() + b".", 8 + 9),
            (b"cargparse\nNamespace\n)R(" + b"N" * 100 + b"tb.", 8 + 100 + 100 + 7),
            (
                b"cargparse\nNamespace\n)R}(" + b"".join(hostile.text(f"{i}") + b"N" for i in range(50)) + b"ub.",
                8 + 159,
            ),
        ],
    )
    def test_what_copies_pays_for_it(self, program, cost):
        purse = Budget(0)
        read_pickle(b"\x80\x02" + program, purse)
        assert 1_000_000 - purse.steps == cost + 1


def saved(path: Path, extra: object) -> Path:
    torch.save({"w": torch.ones(4), "extra": extra}, path)
    return path


class TestDepthAndSize:
    def test_as_deep_as_allowed(self, tmp_path):
        def nested(levels: int) -> list[object]:
            return [nested(levels - 1)] if levels > 1 else []

        most = budget.DEEPEST - 1  # in a dictionary
        assert read_tensors(saved(tmp_path / "a.pt", nested(most))).extras["extra"] == nested(most)
        with pytest.raises(UserError, match="nested deeper than 100 levels"):
            read_tensors(saved(tmp_path / "a.pt", nested(most + 1)))

    def test_depth_counts_also_where_each_level_was_seen_before(self, tmp_path):
        levels: list[list[object]] = [[]]
        for _ in range(120):
            levels.append([levels[-1]])
        with pytest.raises(UserError, match="nested deeper than 100 levels"):
            read_tensors(saved(tmp_path / "a.pt", levels))

    @pytest.mark.parametrize("kind", [list, tuple, lambda pair: dict(enumerate(pair))])
    def test_what_is_mentioned_twice_counts_twice(self, tmp_path, kind):
        value: object = "leaf"
        for _ in range(15):
            value = kind((value, value))
        read = read_tensors(saved(tmp_path / "a.pt", value)).extras["extra"]
        assert read == value and (read[0] is read[1])
        for _ in range(15):
            value = kind((value, value))
        with pytest.raises(UserError, match="mentioned too often"):
            read_tensors(saved(tmp_path / "a.pt", value))

    def test_letters_count_too(self, tmp_path):
        words = "".join(map(chr, range(97, 123))) * 1000
        assert len(read_tensors(saved(tmp_path / "a.pt", [words] * 300)).extras["extra"]) == 300
        for long in (words, words.encode()):
            with pytest.raises(UserError, match="mentioned too often"):
                read_tensors(saved(tmp_path / "a.pt", [long] * 400))

    def test_a_circle(self, tmp_path):
        circle: list[object] = []
        circle.append(circle)
        with pytest.raises(UserError, match="holds itself"):
            read_tensors(saved(tmp_path / "a.pt", circle))

    def test_plain_values_are_read_as_they_are(self, tmp_path):
        extra = {
            "list": [1, -5, 2.5, True, None, "text", b"bytes", 2**80, -(2**70)],
            "tuple": (1, (2, (3,)), ()),
            "set": {1, 2},
            "frozen": frozenset({"a"}),
            "complex": 1 + 2j,
            "device": torch.device("cuda", 1),
            "size": torch.Size([2, 3]),
            "bytes": bytearray(b"abc"),
            -7: {0.5: {None: {True: b"x"}}},
        }
        read = read_tensors(saved(tmp_path / "a.pt", extra)).extras["extra"]
        assert read == {**extra, "device": "cuda:1", "size": (2, 3), "bytes": b"abc"}
        assert type(read["tuple"]) is tuple and type(read["frozen"]) is frozenset
