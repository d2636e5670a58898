"""Everything that distinguishes one FusionMamba from another: its size, and where paper and code disagree."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from fusionkit.errors import FusionkitError, unknown

# Channels per pixel at the output and within squeeze-excitation are the narrowest stage's divided by these.
HEAD, SQUEEZE = 4, 8
BLOCKS = ("dvss", "dvss_code", "evss", "transformer")
FUSIONS = ("dffm", "dffm_code", "dvss")
DIFFERENCES = ("texture", "features")
PLACEMENTS = ("parallel", "serial")


@dataclass(frozen=True)
class Config:
    """One network. The defaults are the paper's equations at full size.

    Attributes:
        dims: Channels of each encoder stage; the decoder mirrors them.
        depths: Blocks of each encoder stage; the decoder mirrors them.
        states: States N of every selective scan.
        drop_path: Largest probability of skipping a block's residual, in training; it grows through the encoder and
            falls through the decoder.
        block: ``"dvss"`` (eq. 5), ``"dvss_code"``, ``"evss"`` or ``"transformer"`` (Table 7).
        placement: Where eq. 5's descriptive convolution reads: ``"parallel"``, the block's input, or ``"serial"``,
            what comes out of the scan, as in the authors' code.
        identity: Add the block's input to eq. 5.
        fusion: ``"dffm"`` (eqs. 6-8), ``"dffm_code"`` or ``"dvss"`` (Table 7).
        enhance: Whether the fusion module has its DFEM (Table 7).
        mix: Whether it has its CMFM (Table 7).
        difference: What DFEM subtracts: the ``"texture"`` maps or the raw ``"features"``.
        own_gate: Gate the second modality of the code's CMFM by its own features; the code does not.
        fusion_mlp: End the code's fusion module with an MLP, as its first release did.
        level0: Add what the finest fusion module gives; the code computes it in vain.
        residual: How often the sum of both images is added to the output.
        clamp: Clamp the output to [0, 1] in training too; in evaluation it always is.
        stored_ones: Keep the constant masks that the authors' weights hold.
    """

    dims: tuple[int, ...] = (96, 192, 384, 768)
    depths: tuple[int, ...] = (2, 2, 9, 2)
    states: int = 16
    drop_path: float = 0.1
    block: str = "dvss"
    placement: str = "parallel"
    identity: bool = False
    fusion: str = "dffm"
    enhance: bool = True
    mix: bool = True
    difference: str = "texture"
    own_gate: bool = False
    fusion_mlp: bool = False
    level0: bool = True
    residual: float = 0.0
    clamp: bool = False
    stored_ones: bool = False

    def __post_init__(self) -> None:
        for name in ("dims", "depths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.dims or len(self.dims) != len(self.depths):
            raise FusionkitError(f"dims {self.dims} and depths {self.depths} must name the same number of stages")
        if any(wide != 2 * narrow for narrow, wide in zip(self.dims, self.dims[1:], strict=False)):
            raise FusionkitError(f"dims {self.dims}: every stage has twice the channels of the one before")
        narrowest = SQUEEZE if self.block in ("dvss_code", "evss") else HEAD
        if min(self.dims) < narrowest or min(self.depths) < 1 or self.states < 1 or not 0 <= self.drop_path < 1:
            raise FusionkitError(
                f"dims {self.dims} must be {narrowest} or more, depths {self.depths} and states {self.states} at "
                f"least 1, drop_path {self.drop_path} from 0 to below 1"
            )
        allowed = {"block": BLOCKS, "placement": PLACEMENTS, "fusion": FUSIONS, "difference": DIFFERENCES}
        for name, choices in allowed.items():
            if getattr(self, name) not in choices:
                raise unknown(f"{name} of FusionMamba", getattr(self, name), choices)
        if self.fusion != "dffm" and not (self.enhance and self.mix):
            raise FusionkitError(f"enhance and mix leave out parts of the fusion 'dffm'; {self.fusion!r} has none")

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values."""
        return asdict(self)


TINY = {"dims": (24, 48, 96), "depths": (2, 2, 2), "states": 8, "drop_path": 0.0}

SIZES: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    # The network that the printed 16.50 G may belong to (Table 6), and the one of the code's CT-MRI weights.
    "table6": {"depths": (2, 2, 2, 2)},
    "ct_code": {"depths": (2, 2, 1, 2)},
    # This project's: three stages, trained within minutes on two CPU cores.
    "tiny": TINY,
}

MODES: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "official": {
        "block": "dvss_code",
        "fusion": "dffm_code",
        "difference": "features",
        "level0": False,
        "residual": 2.0,
        "clamp": True,
        "stored_ones": True,
    },
}


def configure(size: str = "base", mode: str = "paper", **changes: Any) -> Config:
    """Return the configuration of a size in a mode, with some of its fields replaced.

    Args:
        size: A key of ``SIZES``.
        mode: A key of ``MODES``: ``"paper"``, the equations, or ``"official"``, what the released code computes.
        **changes: Fields of ``Config``.

    Raises:
        FusionkitError: Unknown size, mode, field or value.
    """
    for kind, name, table in (("size", size, SIZES), ("mode", mode, MODES)):
        if name not in table:
            raise unknown(f"{kind} of FusionMamba", name, table)
    known = {field.name for field in fields(Config)}
    for name in changes:
        if name not in known:
            raise unknown("option of FusionMamba", name, known | {"size", "mode"})
    return Config(**{**SIZES[size], **MODES[mode], **changes})
