"""What an accuracy is worth, on figures that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from multiview.guessing import Guessing, Share


def test_guessing_by_hand() -> None:
    """Of four classes one has three of five clips, and one none."""
    found = Guessing.of(np.array([0, 2, 2, 1, 2]), 4)
    assert (found.chance, found.frequent) == (0.25, 0.6)
    assert str(found) == "chance gives 25.00 %, the most frequent class for all 60.00 %"


@pytest.mark.parametrize(("right", "clips"), [(0, 10), (7, 12), (81, 100), (30, 30)])
def test_interval_is_wilsons(right: int, clips: int) -> None:
    """Wilson (1927): (p + z^2 / 2n +- z sqrt(p q / n + z^2 / 4n^2)) / (1 + z^2 / n)."""
    z, p = 1.959963984540054, right / clips
    half = z * np.sqrt(p * (1 - p) / clips + z**2 / (4 * clips**2))
    middle, scale = p + z**2 / (2 * clips), 1 + z**2 / clips
    assert Share(right, clips).interval == pytest.approx(((middle - half) / scale, (middle + half) / scale), abs=1e-9)


def test_better_than_guessing_takes_the_whole_interval() -> None:
    """8 of 10 are above a half, and 10 tosses of a coin may give that: the interval begins at 49 %."""
    coin = Guessing(0.5, 0.4)
    assert not Share(8, 10).beats(coin) and Share(9, 10).beats(coin)
    assert not Share(9, 10).beats(Guessing(0.1, 0.9))
    assert Share.of(0.8125, 80) == Share(65, 80)
