"""The feature store: one HDF5 file with views of every clip of a dataset.

Root attributes say what it holds (`format_version`, `dataset`, `sample_rate`, `views`, `software`,
`complete`, `fingerprint`, `left_out`, `about`, `plugins`); group `clips` has one row a clip; `views/VIEW`
holds `values`, the clips end to end along time, and `offsets` [clips + 1] where each begins.
"""

from multiview.store.reader import Store
from multiview.store.schema import About, Clip
from multiview.store.writer import write_store

__all__ = ["About", "Clip", "Store", "write_store"]
