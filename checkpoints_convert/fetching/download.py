"""One file from one address: with resume, progress and a hash check; whole or not at all.

What has arrived stays as `NAME.part`, so that the next try continues there; `NAME` appears when it is complete and its
sha256 is right. Two processes that want the same file share one download.
"""

import contextlib
import hashlib
import http.client
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from checkpoints_convert.reading.files import foreign
from minimodels.errors import UserError

TRIES = 4  # a connection that breaks is taken up again this often
PAUSE = 1.0  # seconds before the second try; doubled each time
CHUNK = 1 << 20
AGENT = "pixels-and-prompts/0.1"
NO_ROOM = (28, 122)  # error numbers: no space left, over quota
DISCONNECTS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


class Unreachable(UserError):
    """The file cannot be had from there: no network, an error of the server, a connection that keeps breaking."""


class Broken(Exception):
    """The connection ended before the file did."""


def download(url: str, path: Path, sha256: str | None = None, progress: bool = True) -> str:
    """Fetch a file and give its sha256. A file that is there already is only checked.

    Args:
        url: http or https.
        path: where it goes; its folder is made.
        sha256: what it must be; None takes what comes.

    Raises:
        Unreachable: the address does not answer, answers with an error, or the connection keeps breaking.
        UserError: the hash is another (the file is removed), or the folder cannot be written or is full.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(path):
            if path.exists():
                return check(path, url, sha256, progress)
            resumed = part.exists() and part.stat().st_size > 0
            _fetch(url, part, progress)
            found = sha256_of(part, progress)
            if resumed and sha256 not in (None, found):  # the old piece was another file's: once more from the start
                part.unlink()
                _fetch(url, part, progress)
                found = ""
            found = check(part, url, sha256, progress, found)
            part.replace(path)
            return found
    except OSError as error:
        if error.errno in NO_ROOM:  # give back what was taken
            part.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise UserError(f"cannot write {path}: {reason}. Free some space, or set HF_HOME to another folder") from error


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """One process at a time for this file; a second one waits, and says so."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        tqdm.write(f"{path.name} is being fetched by another process; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def check(path: Path, url: str, sha256: str | None, progress: bool, found: str = "") -> str:
    """The file's hash (`found`, where it is known already); a file with another one than it should have is removed.

    Raises:
        Unreachable: no hash is known, and what came is plainly something else (a page that says try again later).
        UserError: it had another.
    """
    found = found or sha256_of(path, progress)
    with path.open("rb") as file:
        what = foreign(file.read(512), path.stat().st_size)
    if found == sha256 or (sha256 is None and what is None):
        return found
    path.unlink()
    if sha256 is None:
        raise Unreachable(f"{url} answers with {what}, not with the file")
    raise UserError(
        f"what {url} sent is {what or 'damaged or another file'}, and was removed: its sha256 is {found}, expected "
        f"{sha256}. Fetch it again; if it stays so, a proxy or a mirror changes it"
    )


def _fetch(url: str, part: Path, progress: bool) -> None:
    """Ask, and ask again where the connection broke, until the file is whole."""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            return _continue(url, part, progress)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise Unreachable(f"{url} answers {error.code} {error.reason}") from None
            reason = f"{error.code} {error.reason}"
        except Broken as error:
            reason = str(error)
        except DISCONNECTS as error:
            cause = getattr(error, "reason", error)
            reason = getattr(cause, "strerror", None) or str(cause) or type(error).__name__
    there = part.stat().st_size if part.exists() else 0
    kept = f" ({there:,} bytes are kept; the same command continues there)" if there else ""
    raise Unreachable(f"cannot fetch {url}: {reason}{kept}")


def _continue(url: str, part: Path, progress: bool) -> None:
    """One request, for the bytes that are missing."""
    there = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": AGENT, "Accept-Encoding": "identity"})
    if there:
        request.add_header("Range", f"bytes={there}-")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            if there and not _continues_at(response, there):  # no ranges here: from the start
                there = 0
            _copy(response, part, there, progress)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{there}"):  # it was whole already
            return
        part.unlink()
        raise Broken("the part that was there does not fit the file") from None


def _continues_at(response: HTTPResponse, there: int) -> bool:
    return response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {there}-")


def _copy(response: HTTPResponse, part: Path, there: int, progress: bool) -> None:
    """The body, behind the bytes that are there."""
    length = response.headers.get("Content-Length")
    total = there + int(length) if length and length.isdigit() else None
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - there > free:
        raise OSError(28, f"{total - there:,} bytes are to come and {free:,} are free")
    name = part.name.removesuffix(".part")
    options = {"unit": "B", "unit_scale": True, "unit_divisor": 1000, "disable": None if progress else True}
    with part.open("r+b" if there else "wb") as file, tqdm(total=total, initial=there, desc=name, **options) as bar:
        file.seek(there)
        while chunk := response.read(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())
        arrived = file.tell()
    if total is not None and arrived != total:
        raise Broken(f"the connection ended after {arrived:,} of {total:,} bytes")


def sha256_of(path: Path, progress: bool = False) -> str:
    """The sha256 of a file, as 64 hexadecimal digits; a bar is shown for large ones."""
    size = path.stat().st_size
    quiet = None if progress and size > 50_000_000 else True
    digest = hashlib.sha256()
    with (
        path.open("rb") as file,
        tqdm(total=size, desc=f"checking {path.name}", unit="B", unit_scale=True, leave=False, disable=quiet) as bar,
    ):
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()
