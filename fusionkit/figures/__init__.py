"""Figures: parameters in, a matplotlib figure out, all in one style; the data behind each is a function of its own."""

from fusionkit.figures.anatomy import anatomy_data, architecture_anatomy
from fusionkit.figures.bubble import bubble_chart, bubble_data, own_bubble
from fusionkit.figures.charts import loss_curves, metric_profile
from fusionkit.figures.comparison import comparison_data, published_vs_measured, yardstick_chart
from fusionkit.figures.costs import cost_scatter, cost_study
from fusionkit.figures.overlap import OverlapRow, overlap_gallery, overlap_rows
from fusionkit.figures.panels import fuse_pairs, panel_images, qualitative_panel
from fusionkit.figures.style import figure_style, save
from fusionkit.figures.zoom import Box, zoom_boxes

__all__ = [
    "Box",
    "OverlapRow",
    "anatomy_data",
    "architecture_anatomy",
    "bubble_chart",
    "bubble_data",
    "comparison_data",
    "cost_scatter",
    "cost_study",
    "figure_style",
    "fuse_pairs",
    "loss_curves",
    "metric_profile",
    "overlap_gallery",
    "overlap_rows",
    "own_bubble",
    "panel_images",
    "published_vs_measured",
    "qualitative_panel",
    "save",
    "yardstick_chart",
    "zoom_boxes",
]
