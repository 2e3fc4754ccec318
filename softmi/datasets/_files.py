"""Folders, tar and zip files read in place, and images decoded, with errors that name the file."""

import hashlib
import io
import os
import struct
import tarfile
import threading
import warnings
import zipfile
import zlib
from collections.abc import Container, Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

MEBIBYTE = 2**20
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def data_root() -> Path:
    """Folder of the real data: `SOFTMI_DATA`, else `~/.cache/softmi`."""
    return Path(os.environ.get("SOFTMI_DATA") or "~/.cache/softmi").expanduser()


def sha256(path: Path) -> str:
    """Checksum of a file, for provenance."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inside(name: str) -> str | None:
    """A relative path without detours; None for one that is absolute or climbs."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0] or "\0" in name:
        return None
    return "/".join(parts)


class Files:
    """The files of a data set by their path below its top folder, read when asked for.

    A folder is read as it is. Of an archive only an index is kept: a tar is read at the offsets of
    its members, a zip through its directory. A compressed tar has no such offsets; a small one is
    held in memory, a large one refused with the command that unpacks it. Nothing is ever
    extracted. Members that are no regular files, or whose path is absolute or climbs, do not
    exist for the reader.

    Args:
        path: A folder, tar or zip.
        marker: A file at the top of the data set, which finds the top folder in an archive.

    Raises:
        FileNotFoundError: Nothing at `path`, or no `marker` in it.
        ValueError: A file that is neither tar nor zip, is damaged, or lists a file twice.

    """

    COMPRESSED = 512 * MEBIBYTE  # of a compressed tar, what is held in memory at most
    MEMBER = 256 * MEBIBYTE  # no single file of a picture data set comes near this

    def __init__(self, path: Path, marker: str) -> None:
        self.path = Path(path)
        self._places: dict[str, tuple[int, int]] = {}  # offset and size in a tar
        self._held: dict[str, bytes] = {}  # members of a compressed tar
        self._zip_names: dict[str, str] = {}  # path -> name of the zip's directory
        self._zip: tuple[int, zipfile.ZipFile] | None = None
        self._lock = threading.Lock()
        self.kind = "folder"
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path} does not exist")
        if self.path.is_dir():
            if not (self.path / marker).is_file():
                raise FileNotFoundError(f"{self.path} has no file {marker}")
            return
        try:
            index = self._open_archive()
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{self.path} is damaged or no archive: {error}") from error
        marked = [name for name in index if PurePosixPath(name).name == marker]
        if not marked:
            raise FileNotFoundError(f"{self.path} holds no file {marker}")
        self._top = min(marked, key=lambda name: (name.count("/"), name))[: -len(marker)]

    def _open_archive(self) -> list[str]:
        """Index the members and return their paths."""
        if zipfile.is_zipfile(self.path):
            self.kind = "zip"
            with zipfile.ZipFile(self.path) as archive:
                for info in archive.infolist():
                    if not info.is_dir():
                        self._enter(self._zip_names, info.filename, info.filename)
            return list(self._zip_names)
        try:
            with tarfile.open(self.path, "r:") as archive:
                self.kind = "tar"
                for member in archive:
                    if member.isreg() and not member.issparse():
                        self._enter(self._places, member.name, (member.offset_data, member.size))
            return list(self._places)
        except tarfile.ReadError:
            if self.kind == "tar":  # its head was that of a tar: it is damaged further on
                raise
        self.kind, total = "compressed tar", self.path.stat().st_size
        with tarfile.open(self.path, "r|*") as archive:
            for member in archive:
                if not member.isreg() or member.issparse() or _inside(member.name) is None:
                    continue
                total += member.size
                if total > self.COMPRESSED:
                    raise ValueError(
                        f"{self.path} is compressed and too large to be held in memory: unpack it "
                        f"once, by `gunzip -k {self.path.name}` to a tar that is read in place, "
                        f"or by `tar xf {self.path.name}` to a folder"
                    )
                file = archive.extractfile(member)
                self._enter(self._held, member.name, b"" if file is None else file.read())
        return list(self._held)

    def _enter(self, index: dict, name: str, place: object) -> None:
        inside = _inside(name)
        if inside is None:
            return
        if inside in index:
            raise ValueError(f"{self.path} holds the file {inside} twice")
        index[inside] = place

    def __contains__(self, name: str) -> bool:
        inside = _inside(name)
        if inside is None:
            return False
        if self.kind == "folder":
            return (self.path / inside).is_file()
        known: dict[str, Container[str]] = {
            "tar": self._places,
            "zip": self._zip_names,
            "compressed tar": self._held,
        }
        return self._top + inside in known[self.kind]

    def read(self, name: str) -> bytes:
        """Content of the file `name`, a path below the top folder.

        Raises:
            FileNotFoundError: No such file.
            ValueError: A path that leaves the data set, or a damaged file.

        """
        where = f"{self.path}: {name}"
        inside = _inside(name)
        if inside is None:
            raise ValueError(f"{where} is a path that leaves the data set")
        if name not in self:
            raise FileNotFoundError(f"{self.path} has no file {name}")
        if self.kind == "compressed tar":
            return self._held[self._top + inside]
        if self.kind == "folder":
            self._check_size(where, (self.path / inside).stat().st_size)
            return (self.path / inside).read_bytes()
        if self.kind == "tar":
            offset, size = self._places[self._top + inside]
            self._check_size(where, size)
            with self.path.open("rb") as file:
                file.seek(offset)
                content = file.read(size)
            if len(content) != size:
                raise ValueError(f"{where} ends after {len(content)} of {size} bytes")
            return content
        with self._lock:
            if self._zip is None or self._zip[0] != os.getpid():  # one handle a process
                self._zip = os.getpid(), zipfile.ZipFile(self.path)
            archive, member = self._zip[1], self._zip_names[self._top + inside]
            self._check_size(where, archive.getinfo(member).file_size)
            try:
                return archive.read(member)
            except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
                # RuntimeError: encrypted; NotImplementedError, which it includes: compression
                raise ValueError(f"{where} cannot be read: {error}") from error

    def checksum(self, names: Iterable[str]) -> str:
        """SHA-256 of the archive; for a folder, of the names and sizes of the files `names`."""
        if self.kind != "folder":
            return sha256(self.path)
        sizes = (f"{name}\t{(self.path / name).stat().st_size}\n" for name in names)
        return hashlib.sha256("".join(sizes).encode()).hexdigest()

    def check_present(self, names: Iterable[str]) -> None:
        """Raise FileNotFoundError unless all these files are there."""
        if missing := [name for name in names if name not in self]:
            raise FileNotFoundError(
                f"{self.path} has no file {missing[0]}, nor {len(missing) - 1} others that its "
                f"lists name"
            )

    def _check_size(self, where: str, size: int) -> None:
        if size > self.MEMBER:
            raise ValueError(f"{where} has {size} bytes, more than {self.MEMBER}")

    def __getstate__(self) -> dict:
        """A copy for another process opens its own handle."""
        return self.__dict__ | {"_zip": None, "_lock": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__ = state | {"_lock": threading.Lock()}

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
            if not line.strip():
                continue
            row = line.split(separator)
            if len(row) < columns:
                raise ValueError(
                    f"{self.path}: {name}, line {number}, needs {columns} entries, got {line!r}"
                )
            rows.append(row)
        return rows


def numbers(values: list[str], where: str, kind: type = float) -> list:
    """Entries of a line as numbers; the error names the file, `where`."""
    try:
        return [kind(v) for v in values]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def image_size(content: bytes, where: str) -> tuple[int, int]:
    """Width and height of an image file from its head; errors as in :func:`decode_image`."""
    with _opened(content, where) as image:
        return image.size


def decode_image(content: bytes, where: str) -> Image.Image:
    """An image file as RGB.

    Grey becomes three equal channels (16 bits are cut to 8), palettes and CMYK are converted, and
    transparency is dropped. The orientation that a camera noted is not applied: boxes refer to
    the pixels as they are stored.

    Args:
        content: Bytes of a BMP, GIF (its first picture), JPEG, PNG, PPM, TIFF or WebP file.
        where: Name of the file, for errors.

    Raises:
        ValueError: Not such an image, a damaged or truncated one, or one of more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS` (89 million).

    """
    with _opened(content, where) as image:
        try:
            image.load()
            if image.mode.startswith("I;16"):
                return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
            if image.mode in ("I", "F"):
                raise ValueError(f"pixels of mode {image.mode} have no known range")
            if "transparency" in image.info:
                return image.convert("RGBA").convert("RGB")
            return image.convert("RGB")
        except _BROKEN as error:
            raise ValueError(f"{where} is a damaged image: {error}") from error


# What Pillow raises on bad files of these formats, besides UnidentifiedImageError (an OSError).
_BROKEN = (OSError, SyntaxError, ValueError, IndexError, EOFError, struct.error, zlib.error)


def _opened(content: bytes, where: str) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return Image.open(io.BytesIO(content), formats=IMAGE_FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ValueError(f"{where} is too large an image: {error}") from error
        except _BROKEN as error:
            raise ValueError(f"{where} is not an image that can be read: {error}") from error
