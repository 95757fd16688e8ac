"""A file is written whole or not at all, whatever ends the writer; what a killed one leaves is hidden, then cleaned."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from checkpoints_convert.reading.files import read_tensors, write_tensors
from minimodels.errors import UserError, aside
from minimodels.errors.aside import ASIDE, clean, write_aside

WRITER = """
import signal, sys, time
from minimodels.errors.aside import write_aside
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever started the tests may ignore these
signal.signal(signal.SIGINT, signal.default_int_handler)
{before}
with write_aside(sys.argv[1]) as aside:
    aside.write_bytes(b"half")
    print(aside, flush=True)
    for _ in range(1200):  # a signal that comes in the moment before a sleep is answered after it
        time.sleep(0.05)
"""
posix = pytest.mark.skipif(os.name != "posix", reason="signals and locks of POSIX")


@pytest.fixture
def writer(tmp_path):
    """Starts a program that is in the middle of writing tmp_path/model.safetensors."""
    started = []

    def start(before: str = "") -> tuple[subprocess.Popen[str], Path]:
        program = [sys.executable, "-c", WRITER.format(before=before), str(tmp_path / "model.safetensors")]
        process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def left(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with write_aside(path) as half:
        half.write_text("one")
        assert half.suffix == ".txt" and half.parent == path.parent and not path.exists()
        assert ASIDE.fullmatch(half.name)
    assert path.read_text() == "one" and left(path.parent) == ["a.txt"]
    with pytest.raises(KeyboardInterrupt), write_aside(path) as half:
        half.write_text("two")
        raise KeyboardInterrupt
    assert path.read_text() == "one" and left(path.parent) == ["a.txt"]


def test_long_names_and_names_without_an_ending(tmp_path):
    for name in ("a" * 250, "a" * 240 + ".pth"):
        with write_aside(tmp_path / name) as half:
            half.write_text("x")
        assert (tmp_path / name).read_text() == "x"


@pytest.mark.parametrize("name", ["a\0b.png", "\ud800.png", "new\0/a.png", "\udfff/a.png"])
def test_names_that_no_file_can_have(tmp_path, name):
    with pytest.raises(UserError, match="cannot write .* Choose another folder"), write_aside(tmp_path / name):
        pytest.fail("nothing can be written there")
    assert left(tmp_path) == []


@posix
def test_mode_of_new_and_of_replaced_files(tmp_path):
    before = os.umask(0o027)
    try:
        with write_aside(tmp_path / "new") as half:
            half.write_text("x")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
        (tmp_path / "new").chmod(0o600)
        with write_aside(tmp_path / "new") as half:
            half.write_text("y")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
    finally:
        os.umask(before)


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_ended_by_a_signal(tmp_path, writer, number):
    process, half = writer()
    assert half.exists()
    process.send_signal(number)
    assert process.wait(60) == (128 + number if number != signal.SIGINT else -number)
    assert left(tmp_path) == []


SWALLOWED = """
import os, signal, sys
from minimodels.errors.aside import write_aside
signal.signal(signal.SIGTERM, signal.SIG_DFL)
with write_aside(sys.argv[1]) as aside:
    aside.write_text("whole")
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except SystemExit:
        pass  # as Python does where a finalizer runs
print("went on")
"""
BETWEEN = """
import os, signal, sys
from minimodels.errors.aside import write_aside
signal.signal(signal.SIGTERM, signal.SIG_DFL)
put = signal.signal
def late(number, answer):
    if answer is signal.SIG_DFL and number == signal.SIGTERM:
        os.kill(os.getpid(), number)
    return put(number, answer)
signal.signal = late
with write_aside(sys.argv[1]) as aside:
    aside.write_text("whole")
print("went on")
"""


@posix
@pytest.mark.parametrize("program, code", [(SWALLOWED, 128 + signal.SIGTERM), (BETWEEN, -signal.SIGTERM)])
def test_no_signal_is_lost(tmp_path, program, code):
    """Neither where somebody swallows the exception nor while the old answers are put back. The file is whole."""
    path = tmp_path / "a.txt"
    run = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (code, "") and path.read_text() == "whole" and left(tmp_path) == ["a.txt"]


@posix
def test_an_ignored_signal_ends_nothing(tmp_path, writer):
    """nohup: the program goes on writing."""
    process, half = writer("signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM and left(tmp_path) == []


@posix
def test_killed_at_once(tmp_path, writer):
    """kill -9 leaves a hidden file: nobody takes it for a checkpoint, and the next writer takes it away."""
    process, half = writer()
    process.kill()
    process.wait()
    assert left(tmp_path) == [half.name]
    with pytest.raises(UserError, match="no checkpoint"):
        read_tensors(tmp_path)
    write_tensors(tmp_path / "b.pth", {"w": torch.ones(2)})
    assert left(tmp_path) == ["b.pth"]


@posix
def test_who_still_writes_is_left_alone(tmp_path, writer):
    _, half = writer()
    clean(tmp_path)
    write_tensors(tmp_path / "b.pth", {"w": torch.ones(2)})
    assert left(tmp_path) == [half.name, "b.pth"]
    assert read_tensors(tmp_path)["w"].tolist() == [1, 1]
    with write_aside(tmp_path / "c") as mine:
        clean(tmp_path)
        assert mine.exists()


@posix
def test_only_leftovers_are_taken_away(tmp_path):
    names = [".aside-0123456789ab", ".aside-0123456789ab.pth"]
    kept = [".aside-notes.txt", "x.aside-0123456789ab", ".model.safetensors.abcd.safetensors", ".aside-0123456789AB"]
    for name in names + kept:
        (tmp_path / name).write_text("x")
    clean(tmp_path)
    assert left(tmp_path) == sorted(kept)


def test_hidden_files_are_no_checkpoints(tmp_path):
    write_tensors(tmp_path / "a.safetensors", {"w": torch.ones(2)})
    for name in (".aside-0123456789ab.safetensors", ".a.safetensors.x1y2.safetensors"):
        (tmp_path / name).write_bytes(b"half")
    assert read_tensors(tmp_path)["w"].tolist() == [1, 1]


@posix
def test_a_leftover_that_was_just_made_is_locked_again(tmp_path, monkeypatch):
    """Another writer may take a new file for a leftover before it is locked: then a new one is made."""
    names = iter(["0" * 12, "1" * 12])
    monkeypatch.setattr(aside.secrets, "token_hex", lambda count: next(names))
    lock = aside.fcntl.flock

    def late(handle, how):
        (tmp_path / f".aside-{'0' * 12}").unlink(missing_ok=True)
        lock(handle, how)

    monkeypatch.setattr(aside.fcntl, "flock", late)
    with write_aside(tmp_path / "a") as half:
        assert half.name == f".aside-{'1' * 12}" and half.exists()
        half.write_text("x")
    assert left(tmp_path) == ["a"]


@posix
def test_a_full_disk(tmp_path):
    """A limit on the size of files stands for the disk."""
    (tmp_path / "a").write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    answer = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(UserError, match="cannot write .*Free some space"), write_aside(tmp_path / "a") as half:
            half.write_bytes(bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, answer)
    assert (tmp_path / "a").read_text() == "old" and left(tmp_path) == ["a"]


def test_a_disk_that_is_full_only_at_the_end(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"), write_aside(tmp_path / "a") as half:
        half.write_text("x")
    assert left(tmp_path) == []


def test_answers_to_signals_come_back_and_threads_have_none(tmp_path):
    def write() -> None:
        with write_aside(tmp_path / "a") as half:
            half.write_text("x")
            seen.append(signal.getsignal(signal.SIGTERM))

    seen: list[object] = []
    before = signal.getsignal(signal.SIGTERM)
    write()
    assert signal.getsignal(signal.SIGTERM) is before
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert seen[1] is before

    def own(number, frame):
        raise AssertionError

    signal.signal(signal.SIGTERM, own)
    try:
        write()
        assert seen[2] is own
    finally:
        signal.signal(signal.SIGTERM, before)


@posix
def test_what_is_no_file_stays_what_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path(os.devnull)):
        with pytest.raises(UserError, match="it is a folder or a device"), write_aside(path) as half:
            half.write_text("x")
    assert (tmp_path / "pipe").is_fifo() and left(tmp_path) == ["pipe"]
    (tmp_path / "link").symlink_to(tmp_path / "old")
    (tmp_path / "old").write_text("old")
    with write_aside(tmp_path / "link") as half:
        half.write_text("x")
    assert (tmp_path / "link").read_text() == "x"


def test_what_cannot_be_written(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "folder", tmp_path / "file" / "a", tmp_path / ("a" * 300)):
        with pytest.raises(UserError, match="cannot write"), write_aside(path) as half:
            half.write_text("x")
    assert left(tmp_path) == ["file", "folder"] and left(tmp_path / "folder") == []
