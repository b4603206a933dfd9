"""What the paper reports."""

from __future__ import annotations

# Table 3: accuracy in % by row and dataset, in the paper's order.
PAPER_TABLE_3 = {
    "self_ensemble": {"esc50": 87.35, "dcase2016": 85.38, "gtzan": 91.10},
    "multiview": {"esc50": 86.65, "dcase2016": 85.13, "gtzan": 90.80},
    "late_fusion": {"esc50": 85.80, "dcase2016": 82.05, "gtzan": 89.70},
    "concat": {"esc50": 84.44, "dcase2016": 83.85, "gtzan": 89.00},
    "mel": {"esc50": 80.15, "dcase2016": 77.18, "gtzan": 87.30},
    "gammatone": {"esc50": 76.90, "dcase2016": 77.95, "gtzan": 86.20},
    "cqt": {"esc50": 58.30, "dcase2016": 75.38, "gtzan": 83.10},
    "raw": {"esc50": 75.60, "dcase2016": 57.44, "gtzan": 81.50},
}
