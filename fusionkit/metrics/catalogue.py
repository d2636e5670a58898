"""All metrics by name, and what is known about each."""

from fusionkit.errors import unknown
from fusionkit.metrics import (
    correlation,
    detail,
    edges,
    feature_information,
    fidelity,
    information,
    perception,
    phase,
    pixel_errors,
    similarity,
    statistics,
    weighted_similarity,
)
from fusionkit.metrics.conventions import CONVENTIONS, get_convention
from fusionkit.metrics.metric import Metric

FAMILIES = (
    statistics,
    information,
    feature_information,
    correlation,
    pixel_errors,
    similarity,
    weighted_similarity,
    fidelity,
    edges,
    phase,
    detail,
    perception,
)
METRICS = {metric.name: metric for family in FAMILIES for metric in family.METRICS}


def get_metric(name: str) -> Metric:
    """Return a metric by name.

    Args:
        name: A key of `METRICS`.

    Raises:
        FusionkitError: If no metric has this name; near names are suggested.
    """
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    return METRICS[name]


def list_metrics(convention: str | None = None) -> list[dict[str, str]]:
    """Describe every metric under every convention in which it exists.

    Args:
        convention: Only this convention; None for all.

    Returns:
        One row per metric and convention with the keys metric, convention, full_name, better, unit, range,
        needs, note, edge_cases, values, quantisation, colour, source, toolbox.

    Raises:
        FusionkitError: If the convention is unknown.
    """
    conventions = CONVENTIONS.values() if convention is None else [get_convention(convention)]
    return [
        {
            "metric": metric.name,
            "convention": rules.name,
            "full_name": metric.full_name,
            "better": metric.better,
            "unit": variant.unit,
            "range": variant.range,
            "needs": metric.needs,
            "note": variant.note,
            "edge_cases": metric.edge_cases,
            "values": rules.values,
            "quantisation": rules.quantisation,
            "colour": rules.colour,
            "source": metric.source,
            "toolbox": rules.source,
        }
        for metric in METRICS.values()
        for rules in conventions
        if (variant := metric.variants.get(rules.name))
    ]
