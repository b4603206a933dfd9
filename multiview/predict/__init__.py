"""Classes of sounds of any length: networks of runs and exports, answers, and timelines."""

from multiview.predict.predictor import Prediction, Predictor
from multiview.predict.saved import load

__all__ = ["Prediction", "Predictor", "load"]
