"""Files that run code when they are loaded, or can hide those that do. Told by their bytes, never by opening them."""

import io
import re
import zipfile
from pathlib import PurePosixPath

from podium.engine.formats.reader import Buffer
from podium.engine.formats.refusal import Why

__all__ = ["refusal_by_bytes", "refusal_by_name"]

_PICKLE_SUFFIXES = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill", ".mar", ".npy", ".npz", ".h5", ".keras"}
)
_CODE_SUFFIXES = frozenset({".py", ".pyc", ".so", ".dll", ".dylib", ".exe", ".sh", ".js", ".jar", ".whl", ".egg"})
_ARCHIVES = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "a zip archive",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
}
_OTHERS = {
    b"\x93NUMPY": "a NumPy file, which may hold pickled objects",
    b"\x89HDF\r\n\x1a\n": "HDF5, which may hold code of Keras layers",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"#!": "a program",
}
_TAR_MAGIC, _TAR_AT = b"ustar", 257
_EOCD, _DIRECTORY_ENTRY, _EOCD_SIZE, _LONGEST_COMMENT = b"PK\x05\x06", b"PK\x01\x02", 22, 65_535
# Opcodes with which the streams of the old protocols 0 and 1 begin; https://docs.python.org/3/library/pickletools.html.
_OLD_PICKLES = (b"(dp", b"(lp", b"(i", b"}q", b"]q")
_OLD_GLOBAL = re.compile(rb"\(?c[A-Za-z_][\w.]*\n[A-Za-z_]\w*\n")
_MAX_LISTED = 20_000_000  # bytes of a zip that are looked through for the names in it


def refusal_by_name(name: str) -> tuple[Why, str] | None:
    """Why no file of that name is taken; None: its bytes decide."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _PICKLE_SUFFIXES:
        return Why.PICKLE, f"files that end in {suffix} hold pickled objects, and loading one runs what is inside"
    if suffix in _CODE_SUFFIXES:
        return Why.UNKNOWN, f"files that end in {suffix} are programs, not weights"
    return None


def refusal_by_bytes(buffer: Buffer) -> tuple[Why, str] | None:
    """Why these bytes are not taken; None: they are no pickle, program or archive."""
    start = buffer[:512]
    if start[:1] == b"\x80" and 2 <= start[1] <= 5:  # noqa: PLR2004 - protocols
        return Why.PICKLE, f"it is a pickle (protocol {start[1]}), and loading one runs what is inside"
    if start[_TAR_AT : _TAR_AT + len(_TAR_MAGIC)] == _TAR_MAGIC:
        return Why.ARCHIVE, "it is a tar archive, as old checkpoints with pickles are"
    if archive := _first(_ARCHIVES, start) or ("a zip archive behind other bytes" if _ends_as_zip(buffer) else ""):
        return _archive(buffer, archive)
    if what := _first(_OTHERS, start):
        return Why.UNKNOWN, f"it is {what}"
    if _is_old_pickle(start):
        return Why.PICKLE, "it is a pickle of an old protocol, and loading one runs what is inside"
    return None


def _first(magics: dict[bytes, str], start: bytes) -> str:
    return next((what for magic, what in magics.items() if start.startswith(magic)), "")


def _archive(buffer: Buffer, what: str) -> tuple[Why, str]:
    if "zip" in what and len(buffer) <= _MAX_LISTED and _holds_pickles(buffer):
        return Why.PICKLE, f"it is {what} with pickles in it, as `torch.save` writes them"
    return Why.ARCHIVE, f"it is {what}; unpack it, and take the model files"


def _holds_pickles(buffer: Buffer) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(buffer[:])) as archive:
            return any(refusal_by_name(name) is not None for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        return False


def _ends_as_zip(buffer: Buffer) -> bool:
    """Readers of zip look at the end, so that other bytes before it hide nothing from them."""
    size = len(buffer)
    tail_at = max(0, size - _EOCD_SIZE - _LONGEST_COMMENT)
    tail = buffer[tail_at:]
    at = tail.rfind(_EOCD)
    if at < 0 or at + _EOCD_SIZE > len(tail):
        return False
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    directory = tail_at + at - length
    return length == 0 or (directory >= 0 and buffer[directory : directory + 4] == _DIRECTORY_ENTRY)


def _is_old_pickle(start: bytes) -> bool:
    """Text files begin so now and then, model files do not: this only makes the reason better."""
    return start.startswith(_OLD_PICKLES) or _OLD_GLOBAL.match(start) is not None
