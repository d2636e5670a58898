"""Operators that no library has: the selective scan."""

from fusionkit.ops.backends import available_backends, scan_backend
from fusionkit.ops.selective_scan import selective_scan

__all__ = ["available_backends", "scan_backend", "selective_scan"]
