"""The names everything shares: branches, systems, and the paper's figures under them."""

from __future__ import annotations

from data_prep.views import VIEWS

JOINT = "multiview"  # the branch on the concatenated embedding
BRANCHES = (*VIEWS, JOINT)

# System: the views it takes, and the branches it is trained on.
SYSTEMS = {
    **{view: ((view,), (view,)) for view in VIEWS},
    "concat": (VIEWS, (JOINT,)),
    "multiview": (VIEWS, BRANCHES),
}
