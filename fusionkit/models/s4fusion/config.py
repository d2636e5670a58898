"""Everything that distinguishes one S4Fusion from another: size, fusion module, and where text and code differ."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from fusionkit.errors import FusionkitError, unknown

FUSIONS = ("cmsa", "add", "cnn", "ca", "fssm")
MARKS = ("scanned", "before", "none")
HEADS = 8


@dataclass(frozen=True)
class Config:
    """One network. The defaults are the released code at full size.

    Attributes:
        dims: Channels of each encoder stage; the decoder mirrors them.
        depths: VSS blocks of each encoder stage, per modality; the decoder mirrors them.
        states: States N of the scans in VSS blocks.
        fusion_states: States N of the scans in the fusion modules.
        fusion: The fusion module of every scale: ``"cmsa"``, or what Table 3 puts in its place: ``"add"``, ``"cnn"``,
            ``"ca"`` (cross attention) or ``"fssm"`` (each modality scanned with the other's parameters).
        fusion_blocks: Blocks of the fusion module, per scale, finest first; ``"add"`` and ``"cnn"`` have none to count.
        mark: Where the patch mark goes: only onto what is ``"scanned"``, as in the code, ``"before"`` the step and the
            matrices are projected too, as in the text, or ``"none"`` (Table 3, w/o PM).
        prenorm: Norm in front of each CMSAB, as in the text; the code has none.
        use_scale1: Add what the finest fusion module gives, as in eq. 2; the code's decoder never reads it.
        compute_unused: Compute the finest fusion module even where nothing reads it, so that the cost is the code's.
        fold_normalize: Divide the folded patches by how many lie on each pixel; the code only adds them up.
        pad: Pad images to a size that the patches cover; otherwise refuse those that are not.
        residual: How often the sum of both images is added to the output; neither text nor code adds any.
    """

    dims: tuple[int, ...] = (48, 96, 192)
    depths: tuple[int, ...] = (1, 2, 1)
    states: int = 12
    fusion_states: int = 18
    fusion: str = "cmsa"
    fusion_blocks: tuple[int, ...] = (3, 3, 3)
    mark: str = "scanned"
    prenorm: bool = False
    use_scale1: bool = False
    compute_unused: bool = True
    fold_normalize: bool = False
    pad: bool = True
    residual: float = 0.0

    def __post_init__(self) -> None:
        for name in ("dims", "depths", "fusion_blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.dims or not len(self.dims) == len(self.depths) == len(self.fusion_blocks):
            raise FusionkitError(
                f"dims {self.dims}, depths {self.depths} and fusion_blocks {self.fusion_blocks} "
                "must name the same number of stages"
            )
        if any(wide != 2 * narrow for narrow, wide in zip(self.dims, self.dims[1:], strict=False)):
            raise FusionkitError(f"dims {self.dims}: every stage has twice the channels of the one before")
        if self.dims[0] % 4:
            raise FusionkitError(f"dims {self.dims}: must be multiples of 4")
        for name, choices in (("fusion", FUSIONS), ("mark", MARKS)):
            if getattr(self, name) not in choices:
                raise unknown(f"{name} of S4Fusion", getattr(self, name), choices)
        if self.fusion == "ca" and self.dims[0] % HEADS:
            raise FusionkitError(f"dims {self.dims}: cross attention has {HEADS} heads, which must divide them")

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values."""
        return asdict(self)


SMALL = {"states": 8, "fusion_states": 12, "compute_unused": False}

SIZES: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    # This project's: trained within minutes on two CPU cores, and the smallest that is of use in tests.
    "tiny": {"dims": (24, 48, 96), **SMALL},
    "micro": {"dims": (16, 32, 64), **SMALL},
}

# Sizes of Table 3's replacements that come near the network with CMSA; the paper matched them but gives no numbers.
MATCHED: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "add": {"base": {"dims": (76, 152, 304)}, "tiny": {"dims": (40, 80, 160)}, "micro": {"dims": (28, 56, 112)}},
    "ca": {
        "base": {"fusion_blocks": (16, 12, 10)},
        "tiny": {"fusion_blocks": (20, 14, 11)},
        "micro": {"fusion_blocks": (22, 16, 12)},
    },
    "fssm": {size: {"fusion_blocks": (4, 4, 4)} for size in SIZES},
}


def configure(size: str = "base", **changes: Any) -> Config:
    """Return the configuration of a size, with some of its fields replaced.

    A replacement of CMSA brings its matched size with it; fields that are given count more.

    Args:
        size: A key of ``SIZES``.
        **changes: Fields of ``Config``.

    Raises:
        FusionkitError: Unknown size, field or value.
    """
    if size not in SIZES:
        raise unknown("size of S4Fusion", size, SIZES)
    known = {field.name for field in fields(Config)}
    for name in changes:
        if name not in known:
            raise unknown("option of S4Fusion", name, known | {"size"})
    matched = MATCHED.get(changes.get("fusion", "cmsa"), {}).get(size, {})
    return Config(**{**SIZES[size], **matched, **changes})
