"""The identity of an image: a hash that survives lossless recompression.

Repositories pass the same image on as BMP or as PNG of any compression, so bytes say little about a
losslessly stored image. Its identity is the SHA-256 of ``"HxWxC"`` followed by the decoded 8-bit pixels, rows
first, channels last. A JPEG is identified by the SHA-256 of its bytes: its pixels depend on the decoder, and
nobody recompresses it without changing it.
"""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from fusionkit.errors import FusionkitError
from fusionkit.files import sha256

_PLAIN = {"1": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGBA": "RGB", "RGBX": "RGB"}


def identity(path: Path | str) -> str:
    """Return the identity of an image file as 64 hexadecimal digits.

    Raises:
        FusionkitError: The file is not an image of 8 bits per channel.
    """
    return sha256(path) if _is_jpeg(path) else pixel_hash(decode(path))


def pixel_hash(pixels: np.ndarray) -> str:
    """Return the SHA-256 of the shape and the values of ``pixels`` (H, W, C) uint8."""
    digest = hashlib.sha256("x".join(map(str, pixels.shape)).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def decode(path: Path | str) -> np.ndarray:
    """Return the pixels of an image as (H, W, C) uint8, C being 1 or 3; transparency is dropped.

    Raises:
        FusionkitError: The file is not an image of 8 bits per channel.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "RGB", *_PLAIN):
                raise FusionkitError(f"{path} has pixels of kind {image.mode}; 8 bits per channel are expected")
            pixels = np.asarray(image.convert(_PLAIN.get(image.mode, image.mode)))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FusionkitError(f"{path} cannot be read as an image; fetch it again or remove it") from error
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _is_jpeg(path: Path | str) -> bool:
    with open(path, "rb") as stream:
        return stream.read(3) == b"\xff\xd8\xff"
