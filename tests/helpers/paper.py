"""The names of the paper, written out."""

from __future__ import annotations

VIEWS = ("mel", "gammatone", "cqt", "raw")
BRANCHES = (*VIEWS, "multiview")
SYSTEMS = (*VIEWS, "concat", "multiview")
TABLE_3 = ("self_ensemble", "multiview", "late_fusion", "concat", *VIEWS)
