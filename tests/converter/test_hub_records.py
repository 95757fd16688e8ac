"""What is compared with what: parts, ranges, hashes of the catalogue, of the hub and of the first download."""

import dataclasses
import hashlib
import json
import os
import urllib.error
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from checkpoints_convert.__main__ import main
from checkpoints_convert.fetching import download as downloads
from checkpoints_convert.fetching import hub
from checkpoints_convert.fetching.download import Unreachable, download
from checkpoints_convert.tables.catalogue import File
from minimodels.errors import UserError
from tests.converter.conftest import COMMIT, CONTENT, SHA256

OTHER = hashlib.sha256(b"other").hexdigest()


class TestParts:
    def test_a_file_that_is_there_is_compared(self, server, tmp_path):
        """Hashing alone would give another hash, and nobody would look at it."""
        (tmp_path / "file.pt").write_bytes(b"another file, left by somebody")
        with pytest.raises(UserError, match=f"expected {SHA256}"):
            download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        assert not (tmp_path / "file.pt").exists() and server.log == []
        (tmp_path / "file.pt").write_bytes(b"other")
        assert download(f"{server.url}/file.pt", tmp_path / "file.pt", None, progress=False) == OTHER

    def test_a_range_that_begins_elsewhere_is_not_appended(self, server, tmp_path):
        """206 alone says a part came, not which: this server skips ten bytes, so the file is taken from the start."""
        server.cuts, server.start = [300_000], 10
        with pytest.raises(UserError, match="its sha256 is"):
            download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        assert not list(tmp_path.glob("file*"))

    def test_the_range_is_read_whole(self):
        """bytes 10- is not bytes 100-."""

        class Answer:
            status = 206
            headers = {"Content-Range": "bytes 100-200/201"}

        assert downloads._continues_at(Answer(), 100)
        assert not downloads._continues_at(Answer(), 10) and not downloads._continues_at(Answer(), 1000)
        Answer.status = 200
        assert not downloads._continues_at(Answer(), 100)

    @pytest.mark.parametrize("size, again", [(len(CONTENT), 1), (len(CONTENT) + 7, 2), (7, 2)])
    def test_a_refused_range_says_how_long_the_file_is(self, server, tmp_path, size, again):
        """416: of this very length, the part is whole; of any other, it belongs to another file."""
        (tmp_path / "file.pt.part").write_bytes(CONTENT)
        server.size = size
        assert download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False) == SHA256
        assert (tmp_path / "file.pt").read_bytes() == CONTENT and len(server.log) == again

    def test_another_refusal_of_a_range_is_told(self, server, tmp_path):
        (tmp_path / "file.pt.part").write_bytes(CONTENT[:9])
        server.statuses = [403]
        with pytest.raises(Unreachable, match="answers 403"):
            download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        assert (tmp_path / "file.pt.part").read_bytes() == CONTENT[:9]

    def test_the_name_appears_when_the_hash_is_right(self, server, tmp_path, monkeypatch):
        """Whoever looks while the file is compared sees no file yet."""
        seen, check = [], downloads.check

        def looking(path, *rest):
            seen.append((path.name, (tmp_path / "file.pt").exists()))
            return check(path, *rest)

        monkeypatch.setattr(downloads, "check", looking)
        download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        assert seen == [("file.pt.part", False)]

    def test_a_part_of_another_file_is_fetched_once_more_and_no_more(self, server, tmp_path):
        (tmp_path / "file.pt.part").write_bytes(b"x" * 100)
        with pytest.raises(UserError, match="expected 0000"):
            download(f"{server.url}/file.pt", tmp_path / "file.pt", "0" * 64, progress=False)
        assert [asked for _, _, asked in server.log] == ["bytes=100-", None]

    def test_an_empty_part_is_no_part(self, server, tmp_path):
        (tmp_path / "file.pt.part").write_bytes(b"")
        download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        assert server.log == [("GET", "/file.pt", None)]

    def test_just_enough_room(self, server, tmp_path, monkeypatch):
        usage = downloads.shutil.disk_usage(tmp_path)
        monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage._replace(free=len(CONTENT)))
        assert download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False) == SHA256

    def test_as_often_as_it_says_with_growing_pauses(self, server, tmp_path, monkeypatch):
        pauses = []
        monkeypatch.setattr(downloads, "PAUSE", 1.0)
        monkeypatch.setattr(downloads.time, "sleep", pauses.append)
        server.statuses = [500] * 9
        with pytest.raises(Unreachable, match="500"):
            download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        assert pauses == [1.0, 2.0, 4.0] and len(server.log) == downloads.TRIES == 4


class TestOffline:
    @pytest.mark.parametrize(
        "word, offline", [("1", 1), ("yes", 1), ("On", 1), ("TRUE", 1), ("0", 0), ("off", 0), ("", 0)]
    )
    @pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
    def test_the_words(self, server, monkeypatch, name, word, offline):
        monkeypatch.setattr(hub.huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv(name, word)
        assert hub.is_offline() is bool(offline)
        monkeypatch.setattr(hub.huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        assert hub.is_offline()


def refusal(kind):
    """An error of huggingface_hub's, as it raises it."""
    return kind("no", response=SimpleNamespace(headers={}, request=None, status_code=401))


class TestRefusals:
    def test_a_gated_repository(self, repository):
        said = str(hub._explained(repository, repository.weights, refusal(GatedRepoError)))
        assert said.startswith(f"{repository.repo} asks for its licence to be accepted") and "hf auth login" in said

    def test_an_unknown_repository(self, repository):
        said = str(hub._explained(repository, repository.weights, refusal(RepositoryNotFoundError)))
        assert f"has no {repository.repo} at revision {COMMIT}" in said

    @pytest.mark.parametrize("number", [13, 28, 30, 122])
    def test_a_cache_that_cannot_be_written(self, repository, number):
        error = hub._explained(repository, repository.weights, OSError(number, os.strerror(number)))
        assert "cannot write the cache" in str(error) and not isinstance(error, Unreachable)

    def test_any_other(self, repository):
        error = hub._explained(repository, repository.weights, urllib.error.URLError("gone\nand more"))
        assert isinstance(error, Unreachable) and "\n" not in str(error)


def notes():
    return json.loads((hub.home() / "hashes.json").read_text())


def place(entry, content=CONTENT):
    """A file that a person put there."""
    path = hub.by_hand(entry) / entry.weights.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


class TestRecords:
    def test_a_known_hash_is_not_recorded_as_a_first_download(self, server, archive, repository):
        """Else the record could stand in for the official one when the catalogue learns another."""
        place(archive)
        hub.fetch(archive)
        hub.fetch(repository, progress=False)
        assert notes().get("first_download", {}) == {} and len(notes()["checked"]) >= 1

    def test_the_official_hash_counts_before_the_recorded_one(self, server, archive):
        path = place(archive)
        key = hub._key(archive, path)
        (hub.home() / "hashes.json").write_text(json.dumps({"checked": {}, "first_download": {key: OTHER}}))
        assert hub.fetch(archive) == [path]
        path.write_bytes(b"other")
        with pytest.raises(UserError, match="the official one"):
            hub.fetch(archive)

    @pytest.mark.parametrize("change", ["size", "time"])
    def test_a_file_of_another_size_or_time_is_hashed_again(self, archive, change):
        path = place(archive)
        hub.fetch(archive)
        stamp = path.stat().st_mtime_ns
        path.write_bytes(CONTENT[:-1] if change == "size" else CONTENT[::-1])
        os.utime(path, ns=(stamp, stamp + (change == "time")))
        with pytest.raises(UserError, match="the official one"):
            hub.fetch(archive)

    def test_another_file_of_the_same_bytes_is_remembered_by_its_own_path(self, archive, monkeypatch):
        hub.fetch(dataclasses.replace(archive, files=(File(place(archive).name, None, SHA256),)))
        assert list(notes()["checked"]) == [str(hub.by_hand(archive) / "ViT-B-32.pt")]

    DAMAGED = (
        b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"checked": 5, "first_download": [1]}', b'{"checked": {"a": 3}}',
        b'{"first_download": {"ViT-B/32@main/ViT-B-32.pt": 7}}',
        b'{"first_download": {"ViT-B/32@main/ViT-B-32.pt": "x"}}',
        b"[" * 3000,
    )  # fmt: skip

    @pytest.mark.parametrize("content", DAMAGED)
    def test_records_of_another_kind_count_as_absent_and_are_written_anew(self, archive, content):
        entry = dataclasses.replace(archive, files=(File("ViT-B-32.pt"),))
        path = place(entry)
        (hub.home() / "hashes.json").write_bytes(content)
        assert hub.fetch(entry) == [path]
        assert notes()["first_download"] == {"ViT-B/32@main/ViT-B-32.pt": SHA256}
        assert notes()["checked"][str(path)] == hub._stamp(path)

    def test_one_half_of_the_records_does_not_take_the_other_along(self, archive):
        entry = dataclasses.replace(archive, files=(File("ViT-B-32.pt"),))
        place(entry)
        first = {hub._key(entry, place(entry)): OTHER}
        (hub.home() / "hashes.json").write_text(json.dumps({"checked": [], "first_download": first}))
        with pytest.raises(UserError, match=f"expected {OTHER} .that of the first download"):
            hub.fetch(entry)

    def test_records_that_are_a_folder(self, archive):
        entry = dataclasses.replace(archive, files=(File("ViT-B-32.pt"),))
        path = place(entry)
        (hub.home() / "hashes.json").mkdir()
        assert hub.fetch(entry) == [path]


class TestWhatIsKnown:
    def test_fetch_says_what_could_not_be_checked(self, server, archive, repository, monkeypatch, capfd):
        unknown = dataclasses.replace(archive, files=(File("ViT-B-32.pt"),))
        for entry, said in ((archive, False), (unknown, True), (repository, False)):
            place(entry) if entry.repo is None else None
            monkeypatch.setattr(hub, "find", lambda name, entry=entry: entry)
            assert main(["fetch", "any", "--quiet"]) == 0
            printed = capfd.readouterr()
            assert Path(printed.out.splitlines()[0]).exists()
            assert ("could not be checked" in printed.err) == said, printed.err

    def test_the_hub_names_its_weights_by_their_hash(self, server, repository):
        entry = dataclasses.replace(repository, files=(File("pytorch_model.bin"), *repository.files[1:]))
        path = hub.fetch(entry, progress=False)[0]
        assert hub.is_known(entry, path) and path.resolve().name == SHA256
        assert hub.is_known(repository, Path("pytorch_model.bin"))
        assert not hub.is_known(repository, Path("model.safetensors"))  # the other of its two files: another hash
