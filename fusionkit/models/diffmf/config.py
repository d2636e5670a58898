"""Everything that distinguishes one DIFF-MF from another: size, ablation, and how an open point of the paper is read.

The authors have released no code. Where the paper leaves a point open, the default is the reading that brings the
network nearest to the printed 393.871 G operations, or the one that its figures draw; many others come as near.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from fusionkit.errors import FusionkitError, unknown

GUIDANCES = ("ir_first", "vi_first", "parallel", "added")
# Whose matrices B and C the scans of infrared and visible use; 0 is infrared, 1 visible.
EXCHANGES: Mapping[str, tuple[int, int]] = {
    "mutual": (1, 0),
    "from_visible": (1, 1),
    "from_infrared": (0, 0),
    "none": (0, 1),
}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "block": ("vss", "restormer"),
    "guidance": GUIDANCES,
    "exchange": tuple(EXCHANGES),
    "reading": ("ssm", "tokens"),
    "residual": ("learned", "static", "none"),
    "gate": ("sigmoid", "linear"),
    "weights_from": ("figure", "equation"),
    "merge": ("average", "five"),
    "output": ("image", "blend"),
}
# What the parts decide that can be left out; without the part, its options must stay as they are.
PARTS: Mapping[str, tuple[str, ...]] = {
    "stages": ("depth", "guidance"),
    "channel_exchange": ("exchange", "reading", "reweighting", "residual", "gate", "weights_from"),
    "reweighting": ("residual", "gate", "weights_from"),
    "spatial_exchange": ("merge",),
}


@dataclass(frozen=True)
class Config:
    """One network. The defaults are the paper's network at full size, open points as recommended in each entry.

    Attributes:
        channels: C, "embedded dimensions", of every feature map, 32 in Table VII.
        states: States N of every selective scan, 16 in the paper.
        stages: Difference-driven stages; open, 4 comes nearest to Table VII. 0 is Table II, "w/o feature extract".
        depth: VSS blocks per branch and stage; open, 1 comes nearest to Table VII.
        stem_stride: Pixels between neighbours of the feature maps, per axis; open, 1 because Table VII counts every
            pixel.
        block: What all stages and scales repeat: VMamba's block, ``"vss"``, or for comparison ``"restormer"``, whose
            attention between channels has no states (Table VII, Fig. 8). The channel exchange is then Restormer's
            block, too, and exchanges queries and keys where it exchanged C and B; open, but the paper calls the
            matrices dual to them, and a network of "pure transformer" blocks leaves no scan there.
        guidance: How a stage mixes the modalities: ``"ir_first"`` (algorithm 1), ``"vi_first"`` and ``"parallel"``
            (Table III, version 1 and 2), or ``"added"``, shared features on top of a modality's own and no
            difference (Table II, "w/o difference guidance").
        channel_exchange: Whether there is a channel-exchange module (Table II).
        exchange: Whose matrices the scans in it use: ``"mutual"``, each the other's (eq. 6), ``"from_visible"`` and
            ``"from_infrared"`` (Table V, versions 1 and 2, eqs. 15 and 16), or ``"none"`` (Table IV).
        reading: What is exchanged: ``"ssm"``, the matrices B and C of the scan, as Fig. 2 draws it, or ``"tokens"``,
            two of three groups of projected channels, as eqs. 5-6 say literally. Open: only the first gives x, B and C
            the roles that the text claims.
        reweighting: Whether eqs. 7-8 follow the exchange (Table IV).
        residual: Weights of the residual in eq. 7: ``"learned"`` from the features, as the text says, ``"static"``,
            one per channel, or ``"none"``, no residual (Table VI). Open: how they are learned.
        gate: The "Projection" of eq. 7, with a ``"sigmoid"`` behind it or ``"linear"``. Open: eq. 7 prints no
            function.
        weights_from: What gives the weights of eq. 8 besides the infrared features: those of the visible image, as
            in the ``"figure"``, or infrared ones behind the exchange, as in the ``"equation"``. Open: the two
            disagree, and only the first treats the modalities alike.
        spatial_exchange: Whether there is a spatial-exchange module; otherwise the average (Table II), in which the
            weights of eq. 8 cancel out: what generates them then learns nothing.
        merge: What becomes of the two halves of a column or row scan: their ``"average"``, so that three C are
            concatenated as the text says, or ``"five"``, each half for itself, as in ChangeMamba. Open.
        output: What the decoder gives: the fused ``"image"``, behind a sigmoid, or ``"blend"``, how much of either
            image each pixel takes and what is added to that, decided at full size with both images at hand. The paper
            has no blend; it is for networks with a stem stride, whose features lost what lies between their places.
    """

    channels: int = 32
    states: int = 16
    stages: int = 4
    depth: int = 1
    stem_stride: int = 1
    block: str = "vss"
    guidance: str = "ir_first"
    channel_exchange: bool = True
    exchange: str = "mutual"
    reading: str = "ssm"
    reweighting: bool = True
    residual: str = "learned"
    gate: str = "sigmoid"
    weights_from: str = "figure"
    spatial_exchange: bool = True
    merge: str = "average"
    output: str = "image"

    def __post_init__(self) -> None:
        if self.channels < 2 or self.channels % 2:
            raise FusionkitError(f"channels of DIFF-MF must be an even number from 2 on; got {self.channels}")
        if min(self.states, self.depth) < 1 or self.stages < 0:
            raise FusionkitError(
                f"DIFF-MF: states {self.states} and depth {self.depth} must be at least 1, "
                f"stages {self.stages} at least 0"
            )
        if self.stem_stride not in (1, 2, 4):
            raise FusionkitError(f"stem_stride of DIFF-MF must be 1, 2 or 4; got {self.stem_stride}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise unknown(f"{name} of DIFF-MF", getattr(self, name), choices)
        if self.block == "restormer" and self.reading != "ssm":
            raise FusionkitError(f"DIFF-MF with block=restormer: reading={self.reading} would change nothing")
        self._refuse_idle_options()

    def _refuse_idle_options(self) -> None:
        """Refuse options of a part that is left out: they would change nothing."""
        defaults = {field.name: field.default for field in fields(self)}
        for part, names in PARTS.items():
            idle = [name for name in names if getattr(self, name) != defaults[name]]
            if idle and not getattr(self, part):
                raise FusionkitError(
                    f"DIFF-MF with {part}={getattr(self, part)}: {', '.join(idle)} would change nothing"
                )

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values."""
        return asdict(self)


SIZES: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    # This project's: half the stages, a quarter of the states, every second pixel, for two CPU cores.
    "tiny": {"states": 4, "stages": 2, "stem_stride": 2},
}


def configure(size: str = "base", **changes: Any) -> Config:
    """Return the configuration of a size, with some of its fields replaced.

    Args:
        size: A key of ``SIZES``.
        **changes: Fields of ``Config``.

    Raises:
        FusionkitError: Unknown size, field or value, or an option of a part that is left out.
    """
    if size not in SIZES:
        raise unknown("size of DIFF-MF", size, SIZES)
    known = {field.name for field in fields(Config)}
    for name in changes:
        if name not in known:
            raise unknown("option of DIFF-MF", name, known | {"size"})
    return Config(**{**SIZES[size], **changes})
