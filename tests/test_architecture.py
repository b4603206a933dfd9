"""The structure of the house: arrows point down, none form a circle, commands load only what they need."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import architecture


def test_arrows_point_down() -> None:
    assert architecture.upward(architecture.arrows()) == []


def test_no_module_imports_one_that_imports_it() -> None:
    assert architecture.circle(architecture.arrows()) == []


def test_a_back_arrow_and_a_circle_are_noticed() -> None:
    arrows = {("multiview.store", "data_prep.prepare"), ("multiview.views.base", "multiview.store")}
    assert len(architecture.upward(arrows)) == 2
    assert architecture.circle({("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")}) == ["a", "b", "c"]


def test_every_module_has_a_floor() -> None:
    assert [module for module in architecture.modules() if architecture.floor(module) is None] == []


HEAVY = ("tensorflow", "keras", "librosa", "spafe", "matplotlib", "sklearn", "pandas")
STORE = "import multiview.store"
LIGHT = {
    "import multiview": (*HEAVY, "numpy", "h5py"),
    "import multiview.cli": HEAVY,
    "from multiview.cli import main; main(['--help'])": HEAVY,
    "from multiview.cli import main; main(['train', '--help'])": HEAVY,
    "from multiview.cli import main; main(['evaluate', 'none'])": HEAVY,
    "from multiview.cli import main; main(['grid', 'none.h5', '--results', 'r', '--preset', 'demo'])": HEAVY,
    "from multiview.cli import main; main(['report', 'none'])": ("tensorflow", "keras", "librosa", "spafe"),
    "from data_prep.prepare import main; main(['--help'])": ("tensorflow", "keras", "librosa", "spafe", "matplotlib"),
    "from data_prep.prepare import main; main(['demo', '--plan'])": ("tensorflow", "keras", "librosa", "matplotlib"),
}


@pytest.mark.parametrize("code", LIGHT)
def test_commands_load_what_they_need(code: str) -> None:
    script = f"import sys, atexit\natexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))\n{code}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "sys" in loaded
    assert [name for name in LIGHT[code] if name in loaded] == []


def test_help_is_quick() -> None:
    """Less than half a second of a core warm; the best of five, as other work may share the cores."""
    times = []
    for _ in range(5):
        begin = os.times()
        subprocess.run([sys.executable, "-m", "multiview.cli", "--help"], capture_output=True, check=True)
        end = os.times()
        times.append(end.children_user + end.children_system - begin.children_user - begin.children_system)
    assert min(times) < 0.5


def test_predicting_needs_no_data_prep() -> None:
    """Prediction, evaluation, report and export import nothing of the scripts."""
    script = """
import sys
sys.modules["data_prep"] = None
import multiview.predict.predictor, multiview.experiment.evaluate, multiview.experiment.train, multiview.report
import multiview.export
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
