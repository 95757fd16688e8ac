"""What every test shares: the device, one thread a process, fixed seeds, and which tests wait to be asked for.

pytest                      everything but the tests marked `slow`
pytest --slow               everything
pytest -m parity            one group: parity, slow, browser
pytest -m parity --device cuda
"""

import os
import random
import shutil
import sys
from pathlib import Path

# Before anything imports torch: one thread for each process (pytest-xdist runs several) unless the environment asks for
# another number, no windows, no telemetry.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("NO_MKDOCS_2_WARNING", "1")

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="device for the tests that take one: cpu (default) or cuda")
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")
    parser.addoption("--screenshots", default=None, metavar="DIR", help="keep the browser tests' screenshots in DIR")


def pytest_collection_modifyitems(config, items):
    """Leave slow tests out, unless --slow or the -m expression asks for them."""
    if config.getoption("--slow") or "slow" in config.getoption("-m"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


def pytest_report_header(config):
    return f"device: {config.getoption('--device')} (--device cuda for a GPU); slow tests run with --slow"


@pytest.fixture(autouse=True)
def _fixed_seeds():
    """The same random numbers in every run and in every order; libraries that are not loaded stay unloaded."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def device(request):
    """The torch device named by --device; the test is skipped with the reason where this machine has no such device."""
    import torch

    name = request.config.getoption("--device")
    if name.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip(f"--device {name}: torch sees no GPU here")
    if name == "mps":
        pytest.skip("--device mps: it has no float64, and parity is a float64 statement")
    return torch.device(name)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a system Chromium that playwright can drive; skips with the reason where one is missing."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        path = shutil.which(name)
        if path:
            return path
    pytest.skip("no Chromium found (Debian, Ubuntu: apt-get install chromium)")
