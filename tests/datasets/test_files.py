"""Files of a data set: images that are none, and archives that are damaged or mean harm."""

import hashlib
import io
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_sets import (
    cub_files,
    tiny_files,
    write_folder,
    write_tar,
    write_zip,
)
from PIL import Image

from softmi.datasets import (
    CUB,
    TinyImageNet,
    _files,
    data_root,
    sha256,
)
from softmi.datasets._files import Files


def test_data_root_is_softmi_data_or_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SOFTMI_DATA", str(tmp_path))
    assert data_root() == tmp_path
    for unset in ("", None):
        monkeypatch.delenv("SOFTMI_DATA", raising=False)
        if unset is not None:
            monkeypatch.setenv("SOFTMI_DATA", unset)
        assert data_root() == Path.home() / ".cache" / "softmi"


def test_sha256_is_that_of_the_bytes(tmp_path):
    content = bytes(range(256)) * 999
    (tmp_path / "file").write_bytes(content)
    assert sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def ramp(mode: str = "L") -> Image.Image:
    """A horizontal ramp of 64 grey values."""
    return Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (64, 1)) * 4).convert(mode)


def tiny_with(content: bytes, folder: Path, *, kind: str = "folder") -> TinyImageNet:
    """A Tiny-ImageNet whose first image has this content."""
    files = tiny_files() | {"train/n02/images/n02_0.JPEG": content}
    if kind == "zip":
        return TinyImageNet(write_zip(files, folder / "tiny.zip"))
    return TinyImageNet(write_folder(files, folder / "tiny"))


def palette_with_transparency() -> bytes:
    image = ramp().quantize(16)
    return encoded(image, "png", transparency=bytes(range(16)))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (encoded(ramp(), "png"), 0),
        (encoded(ramp("LA"), "png"), 0),
        (encoded(ramp("RGBA"), "png"), 0),
        (encoded(ramp("RGB"), "bmp"), 0),
        (encoded(ramp("RGB"), "gif"), 0),
        (encoded(ramp("P"), "png"), 0),
        (encoded(ramp("CMYK"), "tiff"), 0),
        (encoded(Image.fromarray(np.array(ramp()).astype(np.uint16) * 257), "png"), 0),
        (encoded(ramp(), "jpeg", quality=95), 4),  # grey, and lossy
        (encoded(ramp("CMYK"), "jpeg", quality=95), 8),
        (palette_with_transparency(), 16),  # sixteen greys for 64
        (encoded(ramp("1"), "png"), 255),  # dithered
    ],
    ids=["grey", "grey and alpha", "alpha", "bmp", "gif", "palette", "cmyk", "16 bits", "jpeg",
         "cmyk jpeg", "transparent palette", "1 bit"],
)  # fmt: skip
def test_every_kind_of_image_becomes_rgb(content, error, tmp_path):
    image, _ = tiny_with(content, tmp_path)[0]
    assert image.shape == (3, 64, 64)
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[0], image[2])
    expected = torch.arange(64) * 4
    assert (image[0] * 255 - expected).abs().max() <= error + 1e-4  # one rounding of float32


def bomb(side: int) -> bytes:
    """A PNG that says it has side x side pixels, and does not bring them along."""
    small = bytearray(encoded(Image.new("L", (1, 1)), "png"))
    small[16:24] = side.to_bytes(4, "big") * 2
    small[29:33] = zlib.crc32(small[12:29]).to_bytes(4, "big")
    return bytes(small)


BROKEN = {
    "empty": (b"", "is not an image"),
    "text": (b"<html>404 not found</html>", "is not an image"),
    "head only": (encoded(ramp(), "png")[:20], "is not an image"),
    "half a png": (encoded(Image.effect_noise((64, 64), 99), "png")[:2000], "is a damaged image"),
    "half a jpeg": (encoded(ramp(), "jpeg")[:-200], "is a damaged image"),
    "bomb": (bomb(30_000), "is too large an image"),
    "half a bomb": (bomb(10_000), "is too large an image"),  # where Pillow only warns
    "float": (encoded(Image.new("F", (64, 64)), "tiff"), "mode F have no known range"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "is not an image"),
}


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_image_is_refused_by_name(name, kind, tmp_path):
    content, message = BROKEN[name]
    tiny = tiny_with(content, tmp_path, kind=kind)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=rf"n02_0\.JPEG {message}|n02_0\.JPEG.*{message}"):
        tiny[0]
    assert tiny[1][0].shape == (3, 64, 64)  # the others can still be read
    assert sorted(tmp_path.rglob("*")) == before


def without(name: str) -> dict[str, bytes]:
    files = tiny_files()
    del files[name]
    return files


def test_a_missing_image_is_named(tmp_path):
    path = write_zip(without("val/images/val_0.JPEG"), tmp_path / "tiny.zip")
    with pytest.raises(FileNotFoundError, match=r"no file val/images/val_0\.JPEG$"):
        TinyImageNet(path)
    files = cub_files()
    lost = [name for name in files if "003.Bird" in name]
    path = write_tar({n: c for n, c in files.items() if n not in lost}, tmp_path / "cub.tar")
    with pytest.raises(FileNotFoundError, match=r"no file images/003\.Bird.*0005.jpg, nor 1 oth"):
        CUB(path)


@pytest.mark.parametrize("kind", ["tar", "tgz", "bz2", "xz", "zip"])
def test_an_archive_is_unpacked_once_and_anew_when_it_has_changed(kind, tmp_path, cache):
    path = tmp_path / f"cub.{kind}"
    write = write_zip if kind == "zip" else write_tar
    write(cub_files(), path)
    cub = CUB(path)
    assert len(cub) == 6
    (folder,) = (cache / "unpacked").iterdir()
    (folder / "images.txt").write_text("1 001.Bird/Bird_0001.jpg\n")  # to see what is read again
    with pytest.raises(ValueError, match=r"describes other images \(6\) than images\.txt \(1\)"):
        CUB(path)
    write(cub_files(4), path)
    assert len(CUB(path)) == 8
    assert len(list((cache / "unpacked").iterdir())) == 2


def test_an_archive_that_unpacks_to_too_much_is_refused_and_leaves_nothing(
    tmp_path, cache, monkeypatch
):
    path = write_tar(cub_files() | {"zeros": bytes(100_000)}, tmp_path / "cub.tgz")
    monkeypatch.setattr(_files, "UNPACKED", 50_000)
    assert path.stat().st_size < 5_000
    with pytest.raises(ValueError, match=r"cub\.tgz holds more than 50000 bytes"):
        CUB(path)
    assert list((cache / "unpacked").iterdir()) == []


def test_an_interrupted_unpacking_leaves_nothing_and_can_be_repeated(tmp_path, cache, monkeypatch):
    path, copies = write_tar(cub_files(), tmp_path / "cub.tar"), []

    def stopped(*_):
        copies.append(1)
        if len(copies) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfileobj", stopped)
        with pytest.raises(KeyboardInterrupt):
            CUB(path)
    assert list((cache / "unpacked").iterdir()) == []
    assert len(CUB(path)) == 6


def test_two_processes_may_unpack_the_same_archive(tmp_path, cache, monkeypatch):
    path, unpack, found = write_tar(cub_files(), tmp_path / "cub.tar"), _files._unpack, []

    def overtaken(*arguments):
        files = unpack(*arguments)
        if not found:
            found.append(None)
            found[0] = CUB(path)  # the other one, which has it all before this one is done
        return files

    monkeypatch.setattr(_files, "_unpack", overtaken)
    cub = CUB(path)
    assert torch.equal(cub[5][0], found[0][5][0])
    assert len(list((cache / "unpacked").iterdir())) == 1


def test_a_folder_that_cannot_get_its_name_is_said_and_nothing_is_left(
    tmp_path, cache, monkeypatch
):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    path = write_tar(cub_files(), tmp_path / "cub.tar")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refused)
        with pytest.raises(PermissionError, match="Permission denied"):
            CUB(path)
    assert list((cache / "unpacked").iterdir()) == []
    assert len(CUB(path)) == 6


def evil_tar(path: Path, secret: Path) -> Path:
    write_tar(cub_files(), path)
    with tarfile.open(path, "a") as archive:
        for name in ("../../escaped.txt", "/tmp/softmi_escaped.txt", "CUB_200_2011/../../up.txt"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(f"CUB_200_2011/{name}")
            link.type, link.linkname = kind, str(secret)
            archive.addfile(link)
        for name, kind in (("fifo", tarfile.FIFOTYPE), ("device", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(f"CUB_200_2011/{name}")
            member.type = kind
            archive.addfile(member)
    return path


def test_members_that_escape_or_link_do_not_exist_for_the_reader(tmp_path, cache):
    (tmp_path / "a" / "b").mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    files = Files(evil_tar(tmp_path / "a" / "b" / "cub.tar", secret), "images.txt")
    before = sorted(tmp_path.rglob("*"))
    for name in ("link", "hard", "fifo", "device", "escaped.txt", "up.txt"):
        assert name not in files
        with pytest.raises(FileNotFoundError, match=f"no file {name}"):
            files.read(name)
    for name in ("../up.txt", "/tmp/softmi_escaped.txt", "../../escaped.txt", "images/../../x"):
        assert name not in files
        with pytest.raises(ValueError, match="leaves the data set"):
            files.read(name)
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/softmi_escaped.txt").exists()
    written = [file for file in cache.rglob("*") if not file.is_dir()]
    assert all(file.is_file() and not file.is_symlink() for file in written)
    assert {file.name for file in written}.isdisjoint({"escaped.txt", "up.txt", "link"})


def test_members_of_a_zip_that_escape_do_not_exist_for_the_reader(tmp_path):
    path = write_zip(tiny_files(), tmp_path / "tiny.zip")
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("../escaped.txt", "/tmp/softmi_escaped.txt", "C:\\escaped.txt"):
            archive.writestr(name, "evil")
        link = zipfile.ZipInfo("tiny-imagenet-200/link")
        link.external_attr = 0o120777 << 16  # a symbolic link, whose content is its target
        archive.writestr(link, "/etc/passwd")
    assert len(TinyImageNet(path)) == 27
    files = Files(path, "wnids.txt")
    assert files.read("link") == b"/etc/passwd"  # bytes like any others: nothing follows it
    assert not Path("/tmp/softmi_escaped.txt").exists()


@pytest.mark.parametrize("kind", ["tar", "tgz", "zip"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_is_named(kind, tmp_path):
    files = list(cub_files().items())
    path = tmp_path / f"cub.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in [*files, ("images.txt", b"9 other.jpg")]:
                archive.writestr(f"CUB/{name}", content)
    else:
        with tarfile.open(path, "w:gz" if kind == "tgz" else "w") as archive:
            for name, content in [*files, ("./images.txt", b"9 other.jpg")]:
                member = tarfile.TarInfo(f"CUB/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    with pytest.raises(ValueError, match=r"holds the file CUB/images\.txt twice") as error:
        CUB(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("kind", ["tar", "tgz", "zip", "xz"])
def test_a_damaged_archive_is_refused_by_name(kind, tmp_path):
    """As damaged, or for what it lacks: a tar may end between two members."""
    path = tmp_path / f"cub.{kind}"
    (write_zip if kind == "zip" else write_tar)(cub_files(), path)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 4], content[: len(content) // 9], b"", b"text"):
        path.write_bytes(damaged)
        with pytest.raises((ValueError, FileNotFoundError), match=r"cub\.\w+ (is damaged|ha|hol)"):
            CUB(path)


def test_a_tar_that_lost_its_end_is_refused(tmp_path):
    path = write_tar(cub_files(), tmp_path / "cub.tar")
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-1]
    path.write_bytes(path.read_bytes()[: last.offset_data + last.size - 1])
    with pytest.raises(ValueError, match=r"cub\.tar is damaged .* at .*Bird_0006\.jpg: unex"):
        CUB(path)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = write_tar(cub_files(), tmp_path / "cub.tar")
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(ValueError, match=r"cub\.tar is damaged or cannot be unpacked.*No space"):
        CUB(path)
    assert list((cache / "unpacked").iterdir()) == []


def test_a_zip_member_with_a_wrong_checksum_or_a_password_is_named(tmp_path):
    path = write_zip(tiny_files(), tmp_path / "tiny.zip")
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("tiny-imagenet-200/val/images/val_0.JPEG")
    content = bytearray(path.read_bytes())
    place = info.header_offset + 30 + len(info.filename) + 10
    content[place : place + 8] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged .* at .*val/images/val_0\.JPEG: "):
        TinyImageNet(path)
    content[info.header_offset + 6] |= 1  # the bit that says it is encrypted, here ...
    central = content.rindex(b"PK\1\2", 0, content.rindex(info.filename.encode()))
    content[central + 8] |= 1  # ... and in the directory
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged .* at .*val/images/val_0\.JPEG: .*password"):
        TinyImageNet(path)


def test_a_member_beyond_all_measure_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "MEMBER", 1000)
    files = cub_files() | {"images/001.Bird/Bird_0001.jpg": bytes(1001)}
    for path in (
        write_folder(files, tmp_path / "cub"),
        write_tar(files, tmp_path / "cub.tar"),
        write_zip(files, tmp_path / "cub.zip"),
    ):
        with pytest.raises(ValueError, match=r"Bird_0001\.jpg has 1001 bytes, more than 1000"):
            CUB(path)
