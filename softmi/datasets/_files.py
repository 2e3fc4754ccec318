"""Published files, and the folders and archives of data sets, with errors that name the file."""

import hashlib
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

MEMBER = 2**28  # bytes: no single file of a picture data set comes near this
UNPACKED = 2**34  # bytes that an archive may hold in all


def data_root() -> Path:
    """Folder of the real data: `SOFTMI_DATA`, else `~/.cache/softmi`."""
    return Path(os.environ.get("SOFTMI_DATA") or "~/.cache/softmi").expanduser()


def sha256(path: Path) -> str:
    """Checksum of a file, for provenance."""
    return _checksum(path, "sha256")


def _checksum(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def find(names: Sequence[str], missing: str) -> Path:
    """The first of these that is there under :func:`data_root`; else the error says what is."""
    root = data_root()
    if found := [root / name for name in names if (root / name).exists()]:
        return found[0]
    raise FileNotFoundError(missing.format(root=root) + ", or set SOFTMI_DATA")


def published(path: Path, md5: str, data: str, urls: Iterable[str] = ()) -> Path:
    """A file of a data set with its published checksum, from the first of `urls` that works.

    Raises:
        FileNotFoundError: Not there, and not to be had; the message says what to put where.
        ValueError: A file of another checksum.

    """
    errors = []
    for url in () if path.exists() else urls:
        import pooch  # only now: in a notebook its import asks for ipywidgets, on stderr

        try:
            pooch.retrieve(url, f"md5:{md5}", path.name, path.parent, progressbar=True)
            break
        except (OSError, ValueError) as error:
            errors.append(f"{url}: {error}")
    if not path.exists():
        if errors:
            raise FileNotFoundError(f"could not download {path.name}: {'; '.join(errors)}")
        raise FileNotFoundError(f"{path} is missing; put {data}'s {path.name} (md5 {md5}) there")
    if (found := _checksum(path, "md5")) != md5:
        raise ValueError(f"{path} has md5 {found}, but {data}'s {path.name} has {md5}")
    return path


class Files:
    """The files of a data set by their path below its top folder.

    A folder is read as it is; an archive is unpacked once, see :func:`unpacked`. A path that is
    absolute or climbs leads to no file.

    Args:
        path: A folder, tar (also compressed) or zip.
        marker: A file at the top of the data set, which finds the top folder in an archive.

    Raises:
        FileNotFoundError: Nothing at `path`, or no `marker` in it.
        ValueError: A file that is neither tar nor zip, is damaged, or holds too much.

    """

    def __init__(self, path: Path, marker: str) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path} does not exist")
        self.folder = self.path if self.path.is_dir() else unpacked(self.path, marker)
        self.check_present([marker])

    def __contains__(self, name: str) -> bool:
        inside = _inside(name)
        return inside is not None and (self.folder / inside).is_file()

    def read(self, name: str) -> bytes:
        """Content of the file `name`, a path below the top folder.

        Raises:
            FileNotFoundError: No such file.
            ValueError: A path that leaves the data set, or a file beyond all measure.

        """
        inside = _inside(name)
        if inside is None:
            raise ValueError(f"{self.path}: {name} is a path that leaves the data set")
        self.check_present([name])
        _check_size(f"{self.path}: {name}", (self.folder / inside).stat().st_size)
        return (self.folder / inside).read_bytes()

    def checksum(self, names: Iterable[str]) -> str:
        """SHA-256 of the archive; for a folder, of the names and sizes of the files `names`."""
        if not self.path.is_dir():
            return sha256(self.path)
        sizes = (f"{name}\t{(self.path / name).stat().st_size}\n" for name in names)
        return hashlib.sha256("".join(sizes).encode()).hexdigest()

    def check_present(self, names: Iterable[str]) -> None:
        """Raise FileNotFoundError unless all these files are there."""
        if missing := [name for name in names if name not in self]:
            more = f", nor {len(missing) - 1} others that its lists name" if missing[1:] else ""
            raise FileNotFoundError(f"{self.path} has no file {missing[0]}{more}")

    def rows(self, name: str, columns: int, *, separator: str | None = None) -> list[list[str]]:
        """Non-empty lines of a text file, split into at least `columns` entries.

        Raises:
            FileNotFoundError: No such file.
            ValueError: Not UTF-8, or a line with fewer entries; the message names it.

        """
        try:
            lines = self.read(name).decode().splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path}: {name} is not UTF-8 text: {error}") from error
        rows = []
        for number, line in enumerate(lines, start=1):
            row = line.split(separator)
            if line.strip() and len(row) < columns:
                raise ValueError(
                    f"{self.path}: {name}, line {number}, needs {columns} entries, got {line!r}"
                )
            rows += [row] if line.strip() else []
        return rows


def unpacked(archive: Path, marker: str) -> Path:
    """Folder of what a tar or zip holds, unpacked once under `SOFTMI_CACHE` or `~/.cache/softmi`.

    Regular files only: links and devices are left out, and so are members whose path is absolute
    or climbs. The folder appears under its name only when it is whole, and is made anew for an
    archive that has changed (in size or time). :class:`Files` says what is raised.
    """
    state = archive.stat()
    known = f"{archive.resolve()} {state.st_size} {state.st_mtime_ns} {marker}"
    cache = Path(os.environ.get("SOFTMI_CACHE") or "~/.cache/softmi").expanduser() / "unpacked"
    folder = cache / f"{archive.name}-{hashlib.sha256(known.encode()).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as partial_folder:
        files = _unpack(archive, Path(partial_folder) / "all")
        marked = [file for file in files if file.name == marker]
        if not marked:
            raise FileNotFoundError(f"{archive} holds no file {marker}")
        top = min(marked, key=lambda file: (len(file.parts), file)).parent
        try:
            top.rename(folder)
        except OSError:
            if not folder.is_dir():  # where another process was faster, it is
                raise
    return folder


# RuntimeError: encrypted, or compressed in an unknown way. OSError: of bz2, gzip or the disk.
_BROKEN = (EOFError, OSError, RuntimeError, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile,
           zlib.error)  # fmt: skip


def _unpack(archive: Path, folder: Path) -> list[Path]:
    """Write the members of an archive and return where they are."""
    files: list[Path] = []
    total, at = 0, ""
    try:
        for name, size, opened in _members(archive):
            at = f" at {name}"
            _check_size(f"{archive}: {name}", size)
            total += size
            if total > UNPACKED:
                raise ValueError(f"{archive} holds more than {UNPACKED} bytes")
            if (inside := _inside(name)) is None:
                continue
            files.append(folder / inside)
            if files[-1].exists():
                raise ValueError(f"{archive} holds the file {inside} twice")
            files[-1].parent.mkdir(parents=True, exist_ok=True)
            with opened() as content, files[-1].open("xb") as file:
                shutil.copyfileobj(content, file)
    except _BROKEN as error:
        raise ValueError(f"{archive} is damaged or cannot be unpacked{at}: {error}") from error
    return files


def _members(archive: Path) -> Iterator[tuple[str, int, Callable[[], IO[bytes]]]]:
    """Name and size of each regular file in a tar or zip, and how to open it."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if not info.is_dir():
                    yield info.filename, info.file_size, partial(packed.open, info)
        return
    with tarfile.open(archive) as packed:
        for member in packed:
            if member.isreg() and not member.issparse():
                yield member.name, member.size, partial(packed.extractfile, member)  # type: ignore[misc]


def _inside(name: str) -> str | None:
    """A relative path without detours; None for one that is absolute or climbs."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0] or "\0" in name:
        return None
    return "/".join(parts)


def _check_size(where: str, size: int) -> None:
    if size > MEMBER:
        raise ValueError(f"{where} has {size} bytes, more than {MEMBER}")


def numbers(values: list[str], where: str, kind: type = float) -> list:
    """Entries of a line as numbers; the error names the file, `where`."""
    try:
        return [kind(v) for v in values]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
