"""Fusing image files: single ones, or folders whose files have the same names."""

from pathlib import Path

import torch
from torch import Tensor, nn

from fusionkit.data.colour import ycbcr_to_rgb
from fusionkit.data.images import SUFFIXES, bit_depth, read_image, write_image
from fusionkit.data.pairs import Pair, make_pair
from fusionkit.errors import FusionkitError
from fusionkit.progress import bar

MIN_SIDE = 16


def fuse_pair(model: nn.Module, pair: Pair) -> Tensor:
    """Fuse one pair.

    Args:
        model: A fusion model.
        pair: Two images; the chroma of the colour one is put back.

    Returns:
        (1, H, W), or (3, H, W) where the pair has chroma, in [0, 1].

    Raises:
        FusionkitError: The images are smaller than 16 pixels.
    """
    if min(pair.a.shape[-2:]) < MIN_SIDE:
        raise FusionkitError(f"{pair.name}: images need at least {MIN_SIDE}x{MIN_SIDE} pixels")
    with torch.inference_mode():
        fused = model(pair.a[None], pair.b[None])[0].clamp(0, 1)
    return fused if pair.chroma is None else ycbcr_to_rgb(fused, pair.chroma)


def fuse_files(model: nn.Module, first: Path, second: Path, output: Path) -> list[Path]:
    """Fuse two image files, or all images of two folders.

    Every pair is checked for its partner before the first image is written.

    Args:
        model: A fusion model.
        first: Image or folder of the first modality (CT, PET, SPECT, infrared).
        second: Image or folder of the second modality (MRI, visible).
        output: Image file, or folder where the inputs are folders. 16-bit input gives 16-bit PNG.

    Returns:
        The files written.

    Raises:
        FusionkitError: Missing partner, unequal sizes, an unreadable image or an unwritable output.
    """
    jobs = _jobs(first, second, output)
    for a, b, target in bar(jobs, "fusing", unit="pair") if len(jobs) > 1 else jobs:
        pair = make_pair(read_image(a), read_image(b), ("", "", f"{a} and {b}"))
        bits = max(bit_depth(a), bit_depth(b))
        write_image(target, fuse_pair(model, pair), bits)
    return [target for _, _, target in jobs]


def matching_files(*folders: Path) -> list[tuple[Path, ...]]:
    """Return the images that lie in all folders under the same name.

    Raises:
        FusionkitError: A folder holds no images, or an image has no partner.
    """
    for folder in folders:
        if not folder.is_dir():
            raise FusionkitError(f"{folder}: not a folder; give only folders or only images")
    found = [{f.name: f for f in sorted(folder.iterdir()) if f.suffix.lower() in SUFFIXES} for folder in folders]
    for folder, files in zip(folders, found, strict=True):
        if not files:
            raise FusionkitError(f"{folder}: no images in this folder ({', '.join(SUFFIXES)})")
    for folder, files in zip(folders, found, strict=True):
        for other, others in zip(folders, found, strict=True):
            lonely = sorted(files.keys() - others.keys())
            if lonely:
                more = f" and {len(lonely) - 1} more" if len(lonely) > 1 else ""
                raise FusionkitError(f"{folder / lonely[0]}{more}: no partner of the same name in {other}")
    return [tuple(files[name] for files in found) for name in found[0]]


def _jobs(first: Path, second: Path, output: Path) -> list[tuple[Path, Path, Path]]:
    for path in (first, second):
        if not path.exists():
            raise FusionkitError(f"image or folder not found: {path}")
    if first.is_dir() != second.is_dir():
        raise FusionkitError(f"{first} and {second}: give two images or two folders, not one of each")
    if not first.is_dir():
        return [(first, second, output)]
    if output.is_file():
        raise FusionkitError(f"{output}: is a file; folders are fused into a folder")
    return [(a, b, output / a.with_suffix(".png").name) for a, b in matching_files(first, second)]
