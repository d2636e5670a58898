"""Information that the fused image shares with its sources, from histograms of grey levels.

Shapes: levels (B, C, H, W) hold whole numbers 0..255 in float64; kernels return (B, C).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fusionkit.metrics.conventions import round_half_up
from fusionkit.metrics.histograms import LEVELS, entropy, histogram, joint_histogram
from fusionkit.metrics.metric import Metric, Variant

Kernel = Callable[..., Tensor]


def _information(joint: Tensor, base: float = 2.0, top: int = LEVELS - 1) -> Tensor:
    """I(X, Y) = H(X) + H(Y) - H(X, Y) from a joint histogram (..., 256, 256).

    Args:
        joint: Counts.
        base: Base of the logarithm.
        top: Levels above this one share its bin in H(X, Y).
    """
    marginal = entropy(joint.sum(dim=-1), base) + entropy(joint.sum(dim=-2), base)
    for dim in (-1, -2):
        kept, merged = joint.split((top, LEVELS - top), dim=dim)
        joint = torch.cat([kept, merged.sum(dim=dim, keepdim=True)], dim=dim)
    return marginal - entropy(joint.flatten(-2), base)


def _mutual_information(fused: Tensor, a: Tensor, b: Tensor, base: float = 2.0, joint_top: int = LEVELS - 1) -> Tensor:
    """I(A, F) + I(B, F); base and joint_top as `_information` takes them."""
    return sum(_information(joint_histogram(source, fused), base, joint_top) for source in (a, b))


def _stretchable(kernel: Kernel) -> Kernel:
    """Give a kernel the option ``stretch``: what liu's code does with images before it measures them.

    Every image is stretched to 0..255 and rounded. An image of one level stays as it is if it is black; any other
    makes that code stop, hence NaN.
    """

    def stretching(fused: Tensor, a: Tensor, b: Tensor, stretch: bool = False, **options: float) -> Tensor:
        if not stretch:
            return kernel(fused, a, b, **options)
        images = torch.stack((fused, a, b))
        low, high = images.amin(dim=(-2, -1), keepdim=True), images.amax(dim=(-2, -1), keepdim=True)
        stretched = torch.where(high > low, round_half_up((images - low) / (high - low) * 255), images)
        defined = ((high > low) | (high == 0)).squeeze((-2, -1)).all(dim=0)
        return torch.where(defined, kernel(*stretched, **options), torch.nan)

    return stretching


@_stretchable
def _normalised_information(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """2 I(A, F) / (H(A) + H(F)) + 2 I(B, F) / (H(B) + H(F))."""
    joints = [joint_histogram(source, fused) for source in (a, b)]
    return sum(2 * _information(joint) / (entropy(joint.sum(-1)) + entropy(joint.sum(-2))) for joint in joints)


@_stretchable
def _nonlinear_correlation(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """1 + sum of (l/3) log256(l/3) over the eigenvalues l of the matrix of nonlinear correlation coefficients."""
    matrix = torch.eye(3, dtype=fused.dtype, device=fused.device).repeat(*fused.shape[:2], 1, 1)
    images = (a, b, fused)
    for i, j in ((1, 0), (2, 0), (2, 1)):
        matrix[..., i, j] = _information(joint_histogram(images[i], images[j]), base=LEVELS)
    # eigvalsh reads the lower triangle. Rounding may leave an eigenvalue of zero slightly negative.
    share = torch.linalg.eigvalsh(matrix).clamp(min=0) / 3
    return 1 - torch.special.entr(share).sum(dim=-1) / math.log(LEVELS)


def _tsallis_information(x: Tensor, y: Tensor, q: float, swap: bool) -> Tensor:
    """(1 - sum p(i,j)^q / (p(i) p(j))^(q-1)) / (1 - q), the Tsallis divergence from independence.

    Args:
        x: Grey levels.
        y: Grey levels.
        q: Order.
        swap: Take p(i) from y and p(j) from x; terms whose product p(i) p(j) is zero count as zero.
    """
    p = joint_histogram(x, y).double() / (x.shape[-2] * x.shape[-1])
    # What is empty in a marginal drops out, whatever power of zero it is.
    rows, columns = (torch.where(m > 0, m ** (1 - q), 0.0) for m in (p.sum(-1), p.sum(-2)))
    if swap:
        rows, columns = columns, rows
    return (1 - torch.einsum("...i,...ij,...j", rows, p**q, columns)) / (1 - q)


@_stretchable
def _tsallis_sum(fused: Tensor, a: Tensor, b: Tensor, q: float = 1.85, swap: bool = False) -> Tensor:
    """I_q(A, F) + I_q(B, F)."""
    return _tsallis_information(a, fused, q, swap) + _tsallis_information(b, fused, q, swap)


@_stretchable
def _tsallis_share(fused: Tensor, a: Tensor, b: Tensor, q: float = 0.43137, swap: bool = False) -> Tensor:
    """(I_q(A, F) + I_q(B, F)) / (H(A)^q + H(B)^q + I_q(A, B)), entropies in bits."""
    shared = _tsallis_information(a, fused, q, swap) + _tsallis_information(b, fused, q, swap)
    whole = entropy(histogram(a)) ** q + entropy(histogram(b)) ** q + _tsallis_information(a, b, q, swap)
    # Both sources constant: 0/0, but for rounding errors above the line.
    return torch.where(whole == 0, torch.nan, shared / whole)


def _cross_entropy(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Mean over the sources S of the sum of p_S log2(p_S / p_F) over the levels that S and F both have."""
    n_fused, total = histogram(fused).double(), 0.0
    for source in (a, b):
        n_source = histogram(source).double()
        common = (n_source > 0) & (n_fused > 0)
        ratio = torch.where(common, n_source / n_fused.clamp(min=1), 1.0)
        total = total + (n_source * torch.log2(ratio)).sum(dim=-1)
    return total / (2 * fused.shape[-2] * fused.shape[-1])


_SATURATED = Variant(
    "bit",
    "0 to 16.02",
    "levels 254 and 255 share a bin of the joint histogram, so saturated images score higher",
    {"joint_top": 254},
)
_NATS = Variant("nat", "0 to 11.1", "natural logarithm", {"base": math.e})
mi = Metric(
    name="mi",
    full_name="mutual information",
    source="Qu, Zhang and Yan 2002, Electronics Letters 38(7)",
    better="higher",
    needs="fused, a, b",
    edge_cases="0 for a constant fused image (tang: slightly above 0 where levels 254 and 255 both occur)",
    kernel=_mutual_information,
    variants={
        "tang": _SATURATED,
        "tang2022": _SATURATED,
        "vifb": _NATS,
        "cddfuse": _NATS,
        "cddfuse-uint8": _NATS,
        "reference": Variant("bit", "0 to 16"),
    },
)

_STRETCHED = "images stretched to 0..255 first; NaN if one has a single level other than 0, where the code stops"

nmi = Metric(
    name="nmi",
    full_name="normalised mutual information Q_MI",
    source="Hossny, Nahavandi and Creighton 2008, Electronics Letters 44(18)",
    better="higher",
    needs="fused, a, b",
    edge_cases="0 for a constant fused image; NaN if a source is constant as well; 2 for three equal images",
    kernel=_normalised_information,
    variants={
        "liu": Variant("none", "0 to 2", _STRETCHED, {"stretch": True}),
        "reference": Variant("none", "0 to 2"),
    },
)

ncie = Metric(
    name="ncie",
    full_name="nonlinear correlation information entropy Q_NCIE",
    source="Wang, Shen and Jin 2008, in Image Fusion: Algorithms and Applications (ed. Stathaki), chapter 19",
    better="higher",
    needs="fused, a, b",
    edge_cases="0.802, the smallest value, if all images are constant",
    kernel=_nonlinear_correlation,
    variants={
        "liu": Variant("none", "0.802 to 1", _STRETCHED, {"stretch": True}),
        "reference": Variant("none", "0.802 to 1", "bins are the 256 grey levels"),
    },
)

_SWAPPED = f"the two marginal distributions swapped, so values differ widely from the definition; {_STRETCHED}"
te_cvejic = Metric(
    name="te_cvejic",
    full_name="Tsallis mutual information Q_TE of Cvejic, q = 1.85",
    source="Cvejic, Canagarajah and Bull 2006, Electronics Letters 42(11)",
    better="higher",
    needs="fused, a, b",
    edge_cases="0 for a constant fused image",
    kernel=_tsallis_sum,
    variants={
        "liu": Variant("none", "unbounded", _SWAPPED, {"stretch": True, "swap": True}),
        "reference": Variant("none", "0 to 260"),
    },
)

te_nava = Metric(
    name="te_nava",
    full_name="normalised Tsallis mutual information Q_TE of Nava, q = 0.43137",
    source="Nava, Cristobal and Escalante-Ramirez 2007, SPIE Newsroom, 10.1117/2.1200708.0824",
    better="higher",
    needs="fused, a, b",
    edge_cases="0 for a constant fused image; NaN if both sources are constant",
    kernel=_tsallis_share,
    variants={
        "liu": Variant("none", "unbounded", _SWAPPED, {"stretch": True, "swap": True}),
        "reference": Variant("none", "from 0", "divided by H(A)^q + H(B)^q + I_q(A, B) as liu's code does"),
    },
)

_COMMON_LEVELS = Variant("bit", "about 0 to 17", "levels that one of the two images lacks are left out")
ce = Metric(
    name="ce",
    full_name="cross entropy, mean over the sources",
    source="Bulanon, Burks and Alchanatis 2009, Biosystems Engineering 103(1)",
    better="lower",
    needs="fused, a, b",
    edge_cases="0 for images without a common level; slightly negative values are possible",
    kernel=_cross_entropy,
    variants={
        "vifb": _COMMON_LEVELS,
        "reference": Variant(
            "bit",
            "about 0 to 17",
            "levels that one of the two images lacks are left out as in vifb; with them it would be infinite",
        ),
    },
)

METRICS = (mi, nmi, te_cvejic, te_nava, ncie, ce)
