"""Fusion metrics under the named conventions of the toolboxes that papers use.

``evaluate`` measures batches, ``list`` describes every metric under every convention, and each metric is also
a function of its own: ``sf(fused, convention="vifb")``, ``cc(fused, a, b)``.
"""

from fusionkit.metrics.catalogue import METRICS, get_metric
from fusionkit.metrics.catalogue import list_metrics as list
from fusionkit.metrics.conventions import CONVENTIONS, Convention, get_convention
from fusionkit.metrics.correlation import cc, scd
from fusionkit.metrics.evaluation import TooSmallWarning, evaluate
from fusionkit.metrics.information import mi
from fusionkit.metrics.metric import Metric, Variant
from fusionkit.metrics.statistics import ag, en, sd, sf

__all__ = [
    "CONVENTIONS",
    "METRICS",
    "Convention",
    "Metric",
    "TooSmallWarning",
    "Variant",
    "ag",
    "cc",
    "en",
    "evaluate",
    "get_convention",
    "get_metric",
    "list",
    "mi",
    "scd",
    "sd",
    "sf",
]
