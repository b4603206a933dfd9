"""Adaptive gradient blending (Sec. 2.2): Algorithm 1 and other rules, losses in, weights out; NumPy only."""

from multiview.blending.algorithm_1 import EPSILON, Algorithm1, FixedReferences
from multiview.blending.base import BLENDINGS, Blending, DivergedError, Rule, Uniform
from multiview.blending.others import DynamicWeightAverage, InverseLoss, Slopes
from multiview.blending.variants import Averaged, Damped, DampedAveraged, Floored, JointFixed, Scaled, Signed

# Only the first is the paper's proposal.
PAPER = BLENDINGS.register(Blending("paper", "Algorithm 1: gains over the best smoothed losses so far", Algorithm1))
for _name, _text, _rule in (
    ("fixed_references", "gains over the losses of evaluation 0, as in the paper's [17, 18]", FixedReferences),
    ("uniform", "1/K for every branch, throughout", Uniform),
    ("averaged", "not in the paper: the weights of Algorithm 1 averaged over the last W evaluations", Averaged),
    ("signed", "Eq. (5) without a clamp at 0, by magnitude where signs differ", Signed),
    ("damped", "not in the paper: signed, with 0.01 for the epsilon", Damped),
    ("damped_averaged", "not in the paper: the weights of damped averaged over the last W evaluations", DampedAveraged),
    ("scaled", "not in the paper: Algorithm 1 with an epsilon like the noise of O", Scaled),
    ("floored", "not in the paper: the weights of Algorithm 1 averaged, and half of all weight uniform", Floored),
    ("joint_fixed", "not in the paper: 0.4 for the joint branch, the rest by averaged", JointFixed),
    ("slopes", "slopes of the losses against the steepest so far, as in XSleepNet's code", Slopes),
    ("dwa", "dynamic weight averaging on training losses", DynamicWeightAverage),
    ("inverse_loss", "not in the paper: by the inverse square of the smoothed validation losses", InverseLoss),
):
    BLENDINGS.register(Blending(_name, _text, _rule))

__all__ = [
    "BLENDINGS",
    "EPSILON",
    "PAPER",
    "Algorithm1",
    "Averaged",
    "Blending",
    "Damped",
    "DampedAveraged",
    "DivergedError",
    "DynamicWeightAverage",
    "FixedReferences",
    "Floored",
    "InverseLoss",
    "JointFixed",
    "Rule",
    "Scaled",
    "Signed",
    "Slopes",
    "Uniform",
]
