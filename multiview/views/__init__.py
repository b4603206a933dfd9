"""The four views of a clip (Sec. 3.1.2): log mel, log gammatone, log CQT and raw waveform.

Each view is one declaration, `View`, with all that is known about it; stores, segments, networks, graphs and
prediction ask the registry `VIEWS`.
"""

from multiview.views.base import (
    BANDS,
    FLOOR,
    FLOOR_DB,
    SAMPLE_RATES,
    VIEWS,
    Geometry,
    Grid,
    Sound,
    View,
    geometry,
    in_order,
    paper_views,
    parameters,
    sounding_view,
)

from multiview.views.spectrogram import GAMMATONE, MEL  # isort: skip  the paper's order
from multiview.views.cqt import CQT  # isort: skip
from multiview.views.raw import RAW  # isort: skip
from multiview.views.extraction import Excerpt, excerpts, extract

__all__ = [
    "BANDS",
    "CQT",
    "FLOOR",
    "FLOOR_DB",
    "GAMMATONE",
    "MEL",
    "RAW",
    "SAMPLE_RATES",
    "VIEWS",
    "Excerpt",
    "Geometry",
    "Grid",
    "Sound",
    "View",
    "excerpts",
    "extract",
    "geometry",
    "in_order",
    "paper_views",
    "parameters",
    "sounding_view",
]
