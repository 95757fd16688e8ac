"""What was found once is tried for ever, each case in a process of its own."""

import json
import subprocess
import sys

import pytest

from tests.fuzz.cases import FOUND
from tests.fuzz.judge import HIGH

FILES = {file.name: file for file in sorted(FOUND.rglob("*.json"))}  # a folder a kind of target
pytestmark = pytest.mark.xdist_group("fuzz")


@pytest.fixture(scope="module")
def verdicts(root):
    """All of them tried in one run, which imports everything once."""
    words = [sys.executable, "-W", "ignore", "-m", "tests.fuzz", "--replay", str(FOUND), "--json"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", FILES)
def test_found_once(verdicts, name):
    verdict = verdicts[name]
    assert verdict["kind"] not in HIGH, (
        f"{verdict['kind']}: {verdict['detail']}; see python -m tests.fuzz --replay {name}"
    )


def test_cases_are_small():
    """A case is a recipe or a damaged file of a few kilobytes."""
    large = [name for name, file in FILES.items() if file.stat().st_size > 40_000]
    assert not large
