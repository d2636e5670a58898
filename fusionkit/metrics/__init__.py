"""Fusion metrics under the named conventions of the toolboxes that papers use.

``evaluate`` measures batches, ``list`` describes every metric under every convention, and each metric is also
a function of its own: ``sf(fused, convention="vifb")``, ``cc(fused, a, b)``.
"""

from fusionkit.metrics.catalogue import METRICS, get_metric
from fusionkit.metrics.catalogue import list_metrics as list
from fusionkit.metrics.conventions import CONVENTIONS, Convention, get_convention
from fusionkit.metrics.correlation import cc, scd
from fusionkit.metrics.detail import q_m, q_sf
from fusionkit.metrics.edges import nabf, nabf_asdriven, q_g, qabf
from fusionkit.metrics.evaluation import TooSmallWarning, evaluate, evaluate_conventions
from fusionkit.metrics.feature_information import fmi_dct, fmi_edge, fmi_gradient, fmi_none, fmi_w
from fusionkit.metrics.fidelity import vif, viff
from fusionkit.metrics.information import ce, mi, ncie, nmi, te_cvejic, te_nava
from fusionkit.metrics.metric import Metric, Variant
from fusionkit.metrics.perception import qcb, qcv
from fusionkit.metrics.phase import q_p
from fusionkit.metrics.pixel_errors import mse, psnr, rmse
from fusionkit.metrics.similarity import ms_ssim, ssim
from fusionkit.metrics.statistics import ag, ei, en, sd, sf
from fusionkit.metrics.weighted_similarity import q_c, q_e, q_s, q_w, q_y

__all__ = [
    "CONVENTIONS",
    "Convention",
    "METRICS",
    "Metric",
    "TooSmallWarning",
    "Variant",
    "ag",
    "cc",
    "ce",
    "ei",
    "en",
    "evaluate",
    "evaluate_conventions",
    "fmi_dct",
    "fmi_edge",
    "fmi_gradient",
    "fmi_none",
    "fmi_w",
    "get_convention",
    "get_metric",
    "list",
    "mi",
    "ms_ssim",
    "mse",
    "nabf",
    "nabf_asdriven",
    "ncie",
    "nmi",
    "psnr",
    "q_c",
    "q_e",
    "q_g",
    "q_m",
    "q_p",
    "q_s",
    "q_sf",
    "q_w",
    "q_y",
    "qabf",
    "qcb",
    "qcv",
    "rmse",
    "scd",
    "sd",
    "sf",
    "ssim",
    "te_cvejic",
    "te_nava",
    "vif",
    "viff",
]
