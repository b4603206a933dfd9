"""One short module a dataset, which declares where its clips, labels, folds and sources are."""

from data_prep.datasets import esc10, esc50, dcase2016, gtzan, folder, demo  # isort: skip  the order of lists
from data_prep.datasets.base import DATASETS, Archive, ClipFile, Dataset, Index, Option, Source
from data_prep.datasets.finding import require_folder

__all__ = [
    "DATASETS",
    "Archive",
    "ClipFile",
    "Dataset",
    "Index",
    "Option",
    "Source",
    "dcase2016",
    "demo",
    "esc10",
    "esc50",
    "folder",
    "gtzan",
    "require_folder",
]
