"""Reading and writing single images, strict about what a file holds.

In memory an image is a float32 tensor (C, H, W) in [0, 1] with one or three channels.
"""

from pathlib import Path

import numpy as np
import png
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.files import atomic_path

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def read_image(path: Path | str) -> Tensor:
    """Read an 8- or 16-bit, grey, palette or colour image.

    Args:
        path: PNG, JPEG, BMP or TIFF file. An opaque alpha channel is dropped.

    Returns:
        float32 (C, H, W) in [0, 1] with C 1 or 3.

    Raises:
        FusionkitError: The file is missing, unreadable, truncated, transparent, or not finite in [0, 1].
    """
    path = Path(path)
    if not path.is_file():
        raise FusionkitError(f"image not found: {path}")
    if path.suffix.lower() not in SUFFIXES:
        raise FusionkitError(f"{path}: not an image type that is read here ({', '.join(SUFFIXES)})")
    try:
        pixels = _decode_deep_png(path) if _is_deep_png(path) else _decode(path)
    except (OSError, SyntaxError, ValueError, EOFError, UnidentifiedImageError, png.Error) as error:
        raise FusionkitError(f"{path}: damaged or not an image ({_short(error)}); replace the file") from error
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] in (2, 4):
        pixels = _drop_opaque_alpha(pixels, path)
    if pixels.shape[2] not in (1, 3):
        raise FusionkitError(f"{path}: {pixels.shape[2]} channels; one (grey) or three (colour) are needed")
    return torch.from_numpy(np.ascontiguousarray(_to_unit(pixels, path).transpose(2, 0, 1)))


def write_image(path: Path | str, image: Tensor, bits: int = 8) -> None:
    """Write an image so that it is complete or absent.

    Args:
        path: Target; its suffix chooses the format. 16 bits need ``.png``.
        image: (C, H, W) in [0, 1], one or three channels; rounded to the nearest level.
        bits: 8 or 16 per channel.

    Raises:
        FusionkitError: The suffix is unknown or does not fit, or the folder cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise FusionkitError(f"{path}: choose a file name that ends in one of {', '.join(SUFFIXES)}")
    if bits == 16 and path.suffix.lower() != ".png":
        raise FusionkitError(f"{path}: 16-bit images are written as .png; change the name")
    levels = (1 << bits) - 1
    pixels = (image.detach().cpu().clamp(0, 1) * levels).round().permute(1, 2, 0).numpy()
    pixels = pixels.astype(np.uint8 if bits == 8 else np.uint16)
    with atomic_path(path) as temporary:
        if bits == 16:
            height, width, channels = pixels.shape
            writer = png.Writer(width, height, greyscale=channels == 1, bitdepth=16)
            with open(temporary, "wb") as stream:
                writer.write(stream, pixels.reshape(height, -1))
        else:
            Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(temporary)


def bit_depth(path: Path | str) -> int:
    """Return 16 for an image stored with more than 8 bits per channel, else 8."""
    if _is_deep_png(Path(path)):
        return 16
    with Image.open(path) as image:
        return 16 if image.mode.startswith(("I", "F")) else 8


def _is_deep_png(path: Path) -> bool:
    """Tell whether the header says 16-bit PNG, which Pillow would reduce to 8 bits when it has colour."""
    with open(path, "rb") as stream:
        header = stream.read(26)
    return header[:8] == b"\x89PNG\r\n\x1a\n" and len(header) == 26 and header[24] == 16


def _decode_deep_png(path: Path) -> np.ndarray:
    width, height, rows, info = png.Reader(filename=str(path)).read()
    return np.vstack([np.asarray(row, dtype=np.uint16) for row in rows]).reshape(height, width, info["planes"])


def _decode(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        image.load()
        if image.mode == "P":
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        elif image.mode in ("1", "CMYK", "YCbCr", "LAB", "HSV"):
            image = image.convert("L" if image.mode == "1" else "RGB")
        return np.array(image)


def _drop_opaque_alpha(pixels: np.ndarray, path: Path) -> np.ndarray:
    opaque = np.iinfo(pixels.dtype).max
    if (pixels[..., -1] != opaque).any():
        raise FusionkitError(f"{path}: has transparent pixels; flatten it onto a background first")
    return pixels[..., :-1]


def _to_unit(pixels: np.ndarray, path: Path) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / 255
    if pixels.dtype.kind in "iu":
        if pixels.min() < 0 or pixels.max() > 65535:
            raise FusionkitError(f"{path}: integer values outside 0..65535; save it as an 8- or 16-bit image")
        return pixels.astype(np.float32) / 65535
    values = pixels.astype(np.float32)
    if not np.isfinite(values).all():
        raise FusionkitError(f"{path}: holds NaN or infinite values; mask or fill them first")
    if values.min() < 0 or values.max() > 1:
        raise FusionkitError(f"{path}: float values outside [0, 1]; rescale it first")
    return values


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:80] if str(error) else type(error).__name__
