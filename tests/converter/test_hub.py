"""The catalogue and the way here: a local server plays OpenAI's storage and the Hugging Face hub, well and badly."""

import dataclasses
import json
import re
import threading

import pytest
import torch

from checkpoints_convert.fetching import download as downloads
from checkpoints_convert.fetching import hub
from checkpoints_convert.fetching.download import Unreachable, download
from checkpoints_convert.tables import SYSTEMS, entries
from checkpoints_convert.tables.catalogue import File
from minimodels.errors import UserError
from tests.converter.conftest import COMMIT, CONTENT, SHA256


class TestDownload:
    def test_whole(self, server, tmp_path):
        path = tmp_path / "new" / "folder" / "file.pt"
        assert download(f"{server.url}/file.pt", path, SHA256, progress=False) == SHA256
        assert path.read_bytes() == CONTENT
        assert [file.name for file in path.parent.iterdir() if not file.name.endswith(".lock")] == ["file.pt"]
        assert server.log == [("GET", "/file.pt", None)]

    def test_what_is_there_is_not_fetched_again(self, server, tmp_path):
        (tmp_path / "file.pt").write_bytes(CONTENT)
        download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        assert server.log == []

    def test_progress_is_shown(self, server, tmp_path, capsys, monkeypatch):
        shown = []
        monkeypatch.setattr(downloads, "tqdm", lambda **options: shown.append(options) or FakeBar())
        download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256)
        assert shown[0]["total"] == len(CONTENT) and shown[0]["desc"] == "file.pt" and shown[0]["disable"] is None

    def test_interrupted_and_taken_up_again(self, server, tmp_path):
        """The connection breaks twice; each new request asks for the rest only."""
        server.cuts = [300_000, 200_000]
        download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        assert (tmp_path / "file.pt").read_bytes() == CONTENT
        assert [asked for _, _, asked in server.log] == [None, "bytes=300000-", "bytes=500000-"]

    def test_a_broken_download_is_continued_by_the_next_command(self, server, tmp_path, monkeypatch):
        monkeypatch.setattr(downloads, "TRIES", 1)
        server.cuts = [300_000]
        with pytest.raises(
            Unreachable, match="ended after 300,000 of 1,024,000 bytes.*the same command continues there"
        ):
            download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        assert not (tmp_path / "file.pt").exists()
        assert (tmp_path / "file.pt.part").stat().st_size == 300_000
        download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        assert server.log[-1][2] == "bytes=300000-" and (tmp_path / "file.pt").read_bytes() == CONTENT

    def test_a_server_without_ranges_starts_anew(self, server, tmp_path):
        server.ranges = False
        server.cuts = [300_000]
        download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        assert (tmp_path / "file.pt").read_bytes() == CONTENT and server.log[1][2] == "bytes=300000-"

    def test_a_part_that_is_whole_already(self, server, tmp_path):
        (tmp_path / "file.pt.part").write_bytes(CONTENT)
        download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        assert (tmp_path / "file.pt").read_bytes() == CONTENT

    @pytest.mark.parametrize("part", [b"another file" * 9, bytes(len(CONTENT) + 5)])
    def test_a_part_of_another_file_is_thrown_away(self, server, tmp_path, part):
        (tmp_path / "file.pt.part").write_bytes(part)
        download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        assert (tmp_path / "file.pt").read_bytes() == CONTENT

    def test_wrong_hash(self, server, tmp_path):
        with pytest.raises(UserError, match=f"its sha256 is {SHA256}, expected 0000") as caught:
            download(f"{server.url}/file.pt", tmp_path / "file.pt", "0" * 64, progress=False)
        assert "\n" not in str(caught.value) and "was removed" in str(caught.value)
        assert [file.name for file in tmp_path.iterdir() if file.name.startswith("file")] == []

    def test_a_page_instead_of_the_file(self, server, tmp_path):
        server.files["/file.pt"] = b"<!doctype html><html>Sign in to the airport network</html>"
        with pytest.raises(UserError, match="is a web page"):
            download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)

    def test_a_page_instead_of_a_file_whose_hash_is_unknown(self, server, tmp_path):
        """As Google Drive answers when too many people fetched a file."""
        server.files["/file.pt"] = b"<!DOCTYPE html><html>Quota exceeded</html>"
        with pytest.raises(Unreachable, match="answers with a web page"):
            download(f"{server.url}/file.pt", tmp_path / "file.pt", None, progress=False)
        assert not list(tmp_path.glob("file*"))

    def test_truncated_without_a_length(self, server, tmp_path):
        """Without Content-Length nothing tells the end: the hash does."""
        server.length = False
        server.cuts = [300_000]
        with pytest.raises(UserError, match="its sha256 is"):
            download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)

    @pytest.mark.parametrize("status", [404, 403, 410])
    def test_errors_of_the_server(self, server, tmp_path, status):
        server.statuses = [status]
        with pytest.raises(Unreachable, match=f"answers {status}"):
            download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        assert len(server.log) == 1 and not list(tmp_path.glob("file*"))

    def test_a_busy_server_is_asked_again(self, server, tmp_path):
        server.statuses = [503, 429]
        download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        server.statuses = [500] * 9
        with pytest.raises(Unreachable, match="500"):
            download(f"{server.url}/file.pt", tmp_path / "again.pt", SHA256, progress=False)

    def test_nobody_there(self, server, tmp_path):
        with pytest.raises(Unreachable, match="cannot fetch"):
            download("http://127.0.0.1:9/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        with pytest.raises(Unreachable):
            download("http://nowhere.invalid/file.pt", tmp_path / "file.pt", SHA256, progress=False)

    def test_two_at_once_share_one_download(self, server, tmp_path):
        server.gate.clear()
        results = []
        url, path = f"{server.url}/file.pt", tmp_path / "file.pt"
        threads = [
            threading.Thread(target=lambda: results.append(download(url, path, SHA256, False))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        threading.Timer(0.8, server.gate.set).start()
        for thread in threads:
            thread.join(20)
        assert results == [SHA256] * 3 and path.read_bytes() == CONTENT and len(server.log) == 1

    def test_a_folder_that_cannot_be_written(self, server, tmp_path):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(UserError, match="cannot write .*HF_HOME"):
            download(f"{server.url}/file.pt", tmp_path / "file" / "file.pt", SHA256, progress=False)

    def test_a_full_disk(self, server, tmp_path, monkeypatch):
        usage = downloads.shutil.disk_usage(tmp_path)
        monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(UserError, match="1,024,000 bytes are to come and 1,000 are free.*Free some space"):
            download(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, progress=False)
        assert not list(tmp_path.glob("file*"))


class FakeBar:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def update(self, _):
        return None


def test_the_catalogue_is_whole():
    names = [entry.name for entry in entries()]
    assert len(set(names)) == len(names) >= 32
    assert {"RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-L/14@336px"} < set(names)
    for entry in entries():
        assert entry.format in SYSTEMS[entry.system].formats
        assert set(entry.told) <= set(SYSTEMS[entry.system].told.keys())
        assert entry.licence and entry.note
        assert entry.weights.name.endswith((".pt", ".pth", ".bin", ".safetensors"))
        for file in entry.files:
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert re.fullmatch("[0-9a-f]{40}|main", entry.revision)
        assert (entry.repo is None) == (entry.weights.name.endswith((".pt", ".pth")))


def test_addresses_of_openai(monkeypatch):
    monkeypatch.delenv("PIXELS_OPENAI_URL", raising=False)
    sha256 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
    url = f"https://openaipublic.azureedge.net/clip/models/{sha256}/ViT-B-32.pt"
    assert hub.page(hub.find("ViT-B/32")) == url
    assert hub.page(hub.find("ViT-L/14@336px")).endswith("/ViT-L-14-336px.pt")


@pytest.mark.parametrize(
    "typed, name",
    [("vit-b/32", "ViT-B/32"), ("openai/ViT-B/32", "ViT-B/32"), ("ViT-B-32.pt", "ViT-B/32"), ("rn50", "RN50")],
)
def test_find(typed, name):
    assert hub.find(typed).name == name


def test_a_typo_gets_suggestions():
    with pytest.raises(UserError, match="did you mean openai/clip-vit-base-patch32"):
        hub.find("openai/clip-vit-base-pach32")
    with pytest.raises(UserError, match="did you mean .*ViT-B/32"):
        hub.find("ViT-B32")
    with pytest.raises(UserError, match="checkpoints_convert list"):
        hub.find("cat.jpg")


class TestOpenAI:
    def test_fetched_once(self, server, archive, tmp_path):
        assert not hub.cached(archive) and hub.local_files(archive) == []
        paths = hub.fetch(archive, progress=False)
        assert paths == [tmp_path / "hf" / "pixels-and-prompts" / "openai" / "ViT-B-32.pt"]
        assert hub.cached(archive) and hub.local_files(archive) == paths
        hub.fetch(archive, progress=False)
        assert len(server.log) == 1

    def test_the_cache_of_the_official_loader_is_used(self, server, archive, tmp_path):
        (tmp_path / ".cache" / "clip").mkdir(parents=True)
        (tmp_path / ".cache" / "clip" / "ViT-B-32.pt").write_bytes(CONTENT)
        assert hub.fetch(archive) == [tmp_path / ".cache" / "clip" / "ViT-B-32.pt"] and server.log == []

    def test_offline_says_what_where_from_and_where_to(self, server, archive, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(UserError) as caught:
            hub.fetch(archive)
        message = str(caught.value)
        assert "\n" not in message and "ViT-B/32 is not on this machine" in message and "offline" in message
        assert hub.page(archive) in message and str(hub.by_hand(archive)) in message and "ViT-B-32.pt" in message
        assert server.log == []

        hub.by_hand(archive).mkdir(parents=True)  # as it told
        (hub.by_hand(archive) / "ViT-B-32.pt").write_bytes(CONTENT)
        assert hub.fetch(archive) == [hub.by_hand(archive) / "ViT-B-32.pt"]

    def test_no_network_says_the_same(self, server, archive, monkeypatch):
        monkeypatch.setenv("PIXELS_OPENAI_URL", "http://127.0.0.1:9")
        with pytest.raises(
            UserError, match="not on this machine: cannot fetch .*To place it by hand: fetch ViT-B-32.pt"
        ):
            hub.fetch(archive, progress=False)

    def test_a_wrong_file_by_hand(self, archive):
        hub.by_hand(archive).mkdir(parents=True)
        path = hub.by_hand(archive) / "ViT-B-32.pt"
        path.write_bytes(CONTENT[:-1])
        with pytest.raises(UserError, match=r"expected .* \(the official one\).*Remove it and fetch it again"):
            hub.fetch(archive)
        assert path.exists()  # a person's file is a person's
        path.write_bytes(CONTENT)
        assert hub.fetch(archive) == [path]

    def test_checked_once_until_it_changes(self, archive, monkeypatch):
        path = hub.by_hand(archive) / "ViT-B-32.pt"
        path.parent.mkdir(parents=True)
        path.write_bytes(CONTENT)
        hub.fetch(archive)
        with monkeypatch.context() as patch:
            patch.setattr(hub, "sha256_of", lambda *args, **kwargs: pytest.fail("hashed again"))
            hub.fetch(archive)
        path.write_bytes(CONTENT[::-1])
        with pytest.raises(UserError, match="the official one"):
            hub.local_files(archive)

    def test_a_hash_that_no_source_gives_is_recorded_at_the_first_download(self, archive):
        entry = dataclasses.replace(archive, files=(File("ViT-B-32.pt"),))
        path = hub.by_hand(entry) / "ViT-B-32.pt"
        path.parent.mkdir(parents=True)
        path.write_bytes(CONTENT)
        hub.fetch(entry)
        notes = json.loads((hub.home() / "hashes.json").read_text())
        assert notes["first_download"] == {"ViT-B/32@main/ViT-B-32.pt": SHA256}
        path.write_bytes(b"another")
        with pytest.raises(UserError, match=r"that of the first download, in .*hashes.json"):
            hub.fetch(entry)

    def test_a_cache_that_cannot_be_written_is_still_read(self, archive, tmp_path, monkeypatch):
        (tmp_path / ".cache" / "clip").mkdir(parents=True)
        (tmp_path / ".cache" / "clip" / "ViT-B-32.pt").write_bytes(CONTENT)
        (tmp_path / "wall").write_text("")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "wall"))
        assert hub.fetch(archive) == [tmp_path / ".cache" / "clip" / "ViT-B-32.pt"]
        (tmp_path / ".cache" / "clip" / "ViT-B-32.pt").unlink()
        with pytest.raises(UserError, match="cannot write .*HF_HOME"):
            hub.fetch(archive, progress=False)


class TestRepositories:
    def test_fetched_once(self, server, repository, tmp_path):
        paths = hub.fetch(repository, progress=False)
        assert [path.name for path in paths] == ["pytorch_model.bin", "config.json", "preprocessor_config.json"]
        assert all(path.is_relative_to(tmp_path / "hf" / "hub") for path in paths)
        assert paths[0].read_bytes() == CONTENT
        asked = len(server.log)
        assert hub.fetch(repository, progress=False) == paths == hub.local_files(repository)
        assert len(server.log) == asked and hub.cached(repository)

    def test_wrong_hash_removes_the_file(self, server, repository):
        server.files[f"/{repository.repo}/resolve/{COMMIT}/pytorch_model.bin"] = CONTENT + b"!"
        with pytest.raises(UserError, match=f"expected {SHA256}"):
            hub.fetch(repository, progress=False)
        assert not hub.cached(repository) and hub.local_files(repository) == []

    def test_an_unknown_hash_is_recorded(self, server, repository):
        entry = dataclasses.replace(repository, files=(File("pytorch_model.bin"), *repository.files[1:]))
        hub.fetch(entry, progress=False)
        notes = json.loads((hub.home() / "hashes.json").read_text())
        assert notes["first_download"] == {f"{entry.name}@{COMMIT}/pytorch_model.bin": SHA256}

    def test_a_missing_file_of_the_repository(self, server, repository):
        del server.files[f"/{repository.repo}/resolve/{COMMIT}/config.json"]
        with pytest.raises(UserError, match="has no file config.json at revision"):
            hub.fetch(repository, progress=False)

    def test_offline_and_by_hand(self, server, repository, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(UserError) as caught:
            hub.fetch(repository)
        message = str(caught.value)
        assert "pytorch_model.bin (1 MB), config.json, preprocessor_config.json from" in message
        assert f"/{repository.repo}/tree/{COMMIT}" in message and "openai--clip-vit-base-patch32" in message

        folder = hub.by_hand(repository)
        folder.mkdir(parents=True)
        for name in ("config.json", "preprocessor_config.json"):
            (folder / name).write_text("{}")
        torch.save({"w": torch.ones(1)}, folder / "model.safetensors")  # the other of a repository's two weight files
        assert [path.name for path in hub.fetch(repository)][0] == "model.safetensors"
        (folder / "pytorch_model.bin").write_bytes(CONTENT)
        assert hub.fetch(repository)[0] == folder / "pytorch_model.bin"

    def test_no_network(self, server, repository, monkeypatch):
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(UserError, match="cannot be reached .*To place it by hand") as caught:
            hub.fetch(repository, progress=False)
        assert "\n" not in str(caught.value)
