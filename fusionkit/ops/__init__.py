"""Operators that no library has: the selective scan, and the orders in which images are read."""

from fusionkit.ops.backends import available_backends, chosen_backends, scan_backend
from fusionkit.ops.scan_paths import gather, scan_path, scatter
from fusionkit.ops.selective_scan import selective_scan

__all__ = [
    "available_backends",
    "chosen_backends",
    "gather",
    "scan_backend",
    "scan_path",
    "scatter",
    "selective_scan",
]
