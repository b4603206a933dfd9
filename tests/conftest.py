"""Fixtures: synthesised audio, stores and runs that many tests share."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

# Read when Keras is first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from data_prep.datasets import demo
from data_prep.datasets.base import Index
from data_prep.prepare import prepare
from multiview.settings import Settings, make_settings
from multiview.store import Store

DATA = Path(os.environ.get("MULTIVIEW_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20210606)


@pytest.fixture(scope="session")
def esc10_audio() -> Path:
    folder = DATA / "esc10"
    if not folder.is_dir():
        pytest.skip(f"needs the real clips of ESC-10 in {folder}; name their parent in MULTIVIEW_DATA")
    return folder


@pytest.fixture(scope="session")
def demo_index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return demo.index(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def tiny_store(demo_index: Index, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three classes of the demo, 60 clips of 2 s at 22.05 kHz."""
    clips = [clip for clip in demo_index.clips if clip.label < 3 and clip.id.endswith("-0.wav")]
    path = tmp_path_factory.mktemp("stores") / "tiny.h5"
    prepare("demo", dataclasses.replace(demo_index, classes=demo_index.classes[:3], clips=clips), path, 22050)
    return Store(path)


@pytest.fixture
def tiny_settings(tiny_store: Store):
    """Settings of a few quick epochs of a very narrow network."""

    def make(system: str = "mel", **changes) -> Settings:
        quick = {"width": 1 / 32, "epochs": 4, "window": 2, "warm_up_epochs": 1, **changes}
        return make_settings(tiny_store, system, quick.pop("fold", 1), "demo", **quick)

    return make
