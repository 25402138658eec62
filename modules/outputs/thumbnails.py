"""Small pictures for galleries, made once and kept in a cache folder that may be deleted at any time."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from pathlib import Path

from PIL import Image

from modules.images.data import ImageData

SIDE = 384


def thumbnail(image: Image.Image, side: int = SIDE, *, quality: int = 82) -> bytes:
    """`image` as a WebP of at most `side` pixels; never enlarged, without metadata."""
    small = image.convert("RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


class Thumbnails:
    """Thumbnails by content, in `folder`; any number of threads and processes may ask."""

    def __init__(self, folder: Path, *, side: int = SIDE) -> None:
        self.folder = folder
        self.side = side

    def of(self, picture: ImageData) -> bytes:
        """The WebP for a picture's bytes; raises InvalidImage for what is none."""
        return self._kept(picture.sha256, lambda: picture)

    def of_file(self, path: Path) -> bytes:
        """The WebP for a file; known by name, time and size, so that an unchanged file is not read again.

        Raises OSError when the file cannot be read, InvalidImage when it is no picture.
        """
        status = path.stat()
        name = f"{path.absolute()}\0{status.st_mtime_ns}\0{status.st_size}"
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
        return self._kept(digest, lambda: ImageData(path.read_bytes()))

    def _kept(self, digest: str, read) -> bytes:  # type: ignore[no-untyped-def]
        kept = self.folder / digest[:2] / f"{digest}-{self.side}.webp"
        try:
            return kept.read_bytes()
        except FileNotFoundError:
            made = thumbnail(read().open(), self.side)
        self._keep(kept, made)
        return made

    @staticmethod
    def _keep(path: Path, content: bytes) -> None:
        """Put a thumbnail into the cache; a full disk only means that it is made again next time."""
        temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
