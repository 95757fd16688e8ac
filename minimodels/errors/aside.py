"""Writing a file whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minimodels.errors import UserError


@contextmanager
def write_aside(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to `path` when the block ends well, else remove it.

    Raises:
        UserError: the folder cannot be made or written (read-only, full, a file in the way).
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}. Choose another folder.") from error
    aside = Path(name)
    try:
        yield aside
        aside.chmod(0o666 & ~_umask())
        aside.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}. Free some space or choose another folder."
        ) from error
    finally:
        aside.unlink(missing_ok=True)


def _umask() -> int:
    """The process's file mode mask, which mkstemp ignores (it makes private files)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
