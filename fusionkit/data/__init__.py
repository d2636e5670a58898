"""Datasets: what they are, where they lie, and their pairs as tensors."""

from fusionkit.data.pairs import Pair, dataset_hash, load_pair, present
from fusionkit.data.registry import Dataset, get_dataset, list_datasets

__all__ = [
    "Dataset",
    "Pair",
    "dataset_hash",
    "get_dataset",
    "list_datasets",
    "load_pair",
    "present",
]
