"""Algorithm 1 on traces computed by hand and against a plain transcription; the other rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiview.blending import (
    BLENDINGS,
    Algorithm1,
    Averaged,
    Damped,
    DampedAveraged,
    DivergedError,
    DynamicWeightAverage,
    FixedReferences,
    Floored,
    InverseLoss,
    JointFixed,
    Rule,
    Scaled,
    Signed,
    Slopes,
    Uniform,
)
from multiview.blending.others import slope
from multiview.support.errors import InputError

AB = ("a", "b")


def update(rule: Rule, train: tuple, validation: tuple, **options) -> np.ndarray:
    return rule.update(
        dict(zip(rule.branches, train, strict=True)), dict(zip(rule.branches, validation, strict=True)), **options
    )


def test_algorithm_1_by_hand_with_equations_3_to_5() -> None:
    """W = 1, so nothing is smoothed.

    n = 0: references (2, 2) and (2, 2); uniform.
    n = 1: a has G = 0.4, O = 0.5 - 0.4 = 0.1, so 0.4 / 0.010001 = 39.996; b has G = 0.1,
           O = 1.0 - 0.1 = 0.9, so 0.1 / 0.810001 = 0.12346; a's share is 0.99692.
    n = 2: references are now a (1.5, 1.6), b (1.0, 1.9). a has G = -0.1, so 0; b has G = 0.1 and all.
    n = 3: a has G = 1.6 - 1.2 = 0.4, O = (1.5 - 1.1) - 0.4 = 0, so 0.4 / 1e-6; b has G = 0.
    """
    rule = Algorithm1(AB, window=1)
    assert update(rule, (2, 2), (2, 2)).tolist() == [0.5, 0.5]
    np.testing.assert_allclose(update(rule, (1.5, 1.0), (1.6, 1.9)), [0.99692, 0.00308], atol=1e-5)
    assert update(rule, (1.4, 0.9), (1.7, 1.8)).tolist() == [0, 1]
    # The reference of a stayed at 1.6, the best so far, when its loss rose to 1.7.
    np.testing.assert_allclose(rule.references["validation"], [1.6, 1.8])
    np.testing.assert_allclose(update(rule, (1.0, 0.9), (1.2, 1.8)), [1, 0], atol=1e-6)


def test_smoothing_of_algorithm_1_by_hand() -> None:
    """W = 2: smoothed validation losses of a are 4, 3.5, 2.5, of b 4, 4, 3.5.

    n = 2: references after n = 1 are a 3.5 and b 4 in validation, and in training a 3.5 and b 3.
    a: G = 1, training falls from 3.5 to 2.5, so O = 0: 1 / 1e-6. b: G = 0.5, O = (3 - 1) - 0.5 = 1.5:
    0.5 / 2.250001 = 0.22222.
    """
    rule = Algorithm1(AB, window=2)
    update(rule, (4, 4), (4, 4))
    assert update(rule, (3, 2), (3, 4)).tolist() == [0.5, 0.5]  # n < W
    weights = update(rule, (2, 0), (2, 3))
    assert weights[1] == pytest.approx(0.22222 / 1e6, rel=1e-4)
    assert weights.sum() == pytest.approx(1)


def test_references_move_only_after_the_weight_is_computed() -> None:
    """A branch that improves at every evaluation would have G = 0 if its reference moved first."""
    rule = Algorithm1(AB, window=1)
    update(rule, (2, 2), (2, 2))
    for n in range(1, 5):
        falling = 2 - 0.2 * n
        assert update(rule, (falling, 2), (falling, 2)).tolist() == [1, 0]


def test_all_zero_gives_uniform() -> None:
    rule = Algorithm1(("a", "b", "c", "d"), window=1)
    update(rule, (1,) * 4, (1,) * 4)
    assert update(rule, (0.5,) * 4, (1.5,) * 4).tolist() == [0.25] * 4


def test_uniform_in_the_window_and_the_warm_up() -> None:
    rule = Algorithm1(AB, window=3)
    weights = [update(rule, (2 - n, 2), (2 - n, 2), warm_up=n < 5) for n in np.arange(8) / 10 * 10]
    assert [w.tolist() for w in weights[:5]] == [[0.5, 0.5]] * 5
    assert weights[5].tolist() == [1, 0]


def test_fixed_references_stay_those_of_evaluation_0() -> None:
    """The trace by hand with W = 1: at n = 2, a has G = 2 - 1.7 = 0.3 and O = (2 - 1.4) - 0.3 = 0.3, so
    0.3 / 0.090001; b has G = 0.2 and O = (2 - 0.9) - 0.2 = 0.9, so 0.2 / 0.810001."""
    rule = FixedReferences(AB, window=1)
    update(rule, (2, 2), (2, 2))
    first = update(rule, (1.5, 1.0), (1.6, 1.9))
    np.testing.assert_allclose(first, [0.99692, 0.00308], atol=1e-5)  # nothing has moved yet
    a, b = 0.3 / 0.090001, 0.2 / 0.810001
    np.testing.assert_allclose(update(rule, (1.4, 0.9), (1.7, 1.8)), [a / (a + b), b / (a + b)], rtol=1e-9)
    np.testing.assert_array_equal(rule.references["validation"], [2, 2])


def test_uniform_blending_never_moves() -> None:
    rule = Uniform(AB, window=1)
    for n in range(4):
        assert update(rule, (2 - n, 2), (2 - n, 2)).tolist() == [0.5, 0.5]


losses_of_two = st.lists(st.tuples(*[st.floats(0, 5)] * 4), min_size=2, max_size=12)


@given(losses=losses_of_two, window=st.integers(1, 4))
def test_averaged_weights_are_the_mean_of_the_papers(losses: list[tuple], window: int) -> None:
    paper, averaged = Algorithm1(AB, window), Averaged(AB, window)
    weights = []
    for train_a, train_b, validation_a, validation_b in losses:
        weights.append(update(paper, (train_a, train_b), (validation_a, validation_b)))
        mean = update(averaged, (train_a, train_b), (validation_a, validation_b))
        np.testing.assert_allclose(mean, np.mean(weights[-window:], axis=0), atol=1e-12)
        assert mean.sum() == pytest.approx(1)


@pytest.mark.parametrize(("rule", "epsilon"), [(Signed, 1e-6), (Damped, 1e-2)])
def test_without_a_clamp_by_hand(rule: type[Rule], epsilon: float) -> None:
    """W = 1. n = 1: G = -0.1 and -0.1, O = 0.1 + 0.1 and 0.3 + 0.1; Z is negative and Eq. (5) positive.

    n = 2: references are training 1.9 and 1.7, validation 2 and 2. a: G = 0.2, O = 0.1 - 0.2 = -0.1;
    b: G = -0.2, O = 0.2 + 0.2.
    """
    signed = rule(AB, window=1)
    update(signed, (2, 2), (2, 2))
    a, b = -0.1 / (0.04 + epsilon), -0.1 / (0.16 + epsilon)
    np.testing.assert_allclose(update(signed, (1.9, 1.7), (2.1, 2.1)), [a / (a + b), b / (a + b)])
    a, b = 0.2 / (0.01 + epsilon), 0.2 / (0.16 + epsilon)
    np.testing.assert_allclose(update(signed, (1.8, 1.5), (1.8, 2.2)), [a / (a + b), b / (a + b)])


@given(losses=losses_of_two)
def test_signed_is_algorithm_1_where_nothing_gets_worse(losses: list[tuple]) -> None:
    falling = np.sort(np.array(losses), axis=0)[::-1]
    paper, signed = Algorithm1(AB, 2), Signed(AB, 2)
    for row in falling:
        np.testing.assert_array_equal(update(paper, row[:2], row[2:]), update(signed, row[:2], row[2:]))


def test_epsilon_scaled_to_the_noise_by_hand() -> None:
    """W = 1. The gap of a is 1, 0.6, 0.8, 0.4: second differences 0.6 and -0.6. That of b is straight.

    n = 3: a has G = 1.6 - 1.4 = 0.2, O = -0.2; b has G = 0.1, O = -0.1.
    """
    rule = Scaled(AB, window=1)
    for validation in ((2, 2), (1.6, 1.9), (1.8, 1.8), (1.4, 1.7)):
        weights = update(rule, (1, 1), validation)
    np.testing.assert_allclose(rule.noise(), [0.6 / 0.6745 / 6**0.5, 0], atol=1e-12)
    a, b = 0.2 / (0.04 + 1e-6 + 0.36 / 0.6745**2 / 6), 0.1 / (0.01 + 1e-6)
    np.testing.assert_allclose(weights, [a / (a + b), b / (a + b)])


def test_noise_of_o_is_that_of_the_gap() -> None:
    """What both losses of a branch share is no noise of O."""
    rule, rng = Scaled(AB, window=5), np.random.default_rng(0)
    shared, noise = rng.normal(size=(2000, 1)), rng.normal(size=(2000, 2)) * (0.1, 0.3)
    rule.history = {"train": list(shared + (2, 2)), "validation": list(shared + noise + (3, 3))}
    np.testing.assert_allclose(rule.noise(), [0.1, 0.3], rtol=0.05)


def test_floored_weights_by_hand() -> None:
    """Algorithm 1 gives a all: 0.5 goes to 1 by a tenth of the rest at a time, and half of the weight is uniform."""
    rule = Floored(AB, window=1)
    weights = [update(rule, (2 - n / 10, 2), (2 - n / 10, 2))[0] for n in range(8)]
    np.testing.assert_allclose(weights, [0.75 - 0.25 * 0.9**n for n in range(8)])


def test_joint_branch_keeps_its_share() -> None:
    rule = JointFixed(("mel", "raw", "multiview"), window=2)
    third = [1 / 3] * 3
    assert [update(rule, (2,) * 3, (2,) * 3).tolist() for _ in range(2)] == [third] * 2
    moving, views = [0.6, 0, 0.4], [0.3, 0.3, 0.4]
    for n, expected in enumerate((np.mean([third, moving], axis=0), moving, moving)):
        falling = (1.5 - n / 10, 2, 1 - n / 10)
        np.testing.assert_allclose(update(rule, falling, falling), expected)
    for expected in (np.mean([moving, views], axis=0), views):  # nothing improves
        np.testing.assert_allclose(update(rule, (2,) * 3, (3,) * 3), expected)


@pytest.mark.parametrize("branches", [AB, ("multiview",)])
@given(losses=losses_of_two)
def test_without_a_joint_branch_among_views_it_is_averaged(branches: tuple, losses: list[tuple]) -> None:
    count, rules = len(branches), (JointFixed(branches, 2), Averaged(branches, 2))
    for row in losses:
        np.testing.assert_array_equal(*(update(rule, row[:count], row[2 : 2 + count]) for rule in rules))


def test_slopes_by_hand() -> None:
    """W = 2, so a slope is the difference of the last two means of two.

    Validation: means of a 4, 3.5, 2.5, 2, slopes -0.5, -1, -0.5; of b 4, 3.5, 2.5, 1.75, slopes -0.5, -1, -0.75.
    Training: slopes of a -0.5, -1, -1; of b 0.
    n = 2: validation falls as never before, G < 0, uniform; the references move to the slopes of n = 2.
    n = 3: a has G = 0.5, O = 0.5 - 0; b has G = 0.25, O = 0.25 - 0.
    """
    rule = Slopes(AB, window=2)
    for train, validation in (((4, 4), (4, 4)), ((3, 4), (3, 3)), ((2, 4), (2, 2))):
        assert update(rule, train, validation).tolist() == [0.5, 0.5]
    np.testing.assert_allclose(rule.references["validation"], [-1, -1])
    np.testing.assert_allclose(rule.references["train"], [-1, 0])
    a, b = 0.5 / (0.25 + 1e-6), 0.25 / (0.0625 + 1e-6)
    np.testing.assert_allclose(update(rule, (1, 4), (2, 1.5)), [a / (a + b), b / (a + b)])
    np.testing.assert_allclose(rule.references["validation"], [-1, -1])


def test_slopes_leave_the_steepest_a_floor() -> None:
    rule = Slopes(AB, window=2)
    for n in range(5):
        weights = update(rule, (4 - n, 4 - n * n / 5), (4 - (n > 1), 4 - n * n / 5))
    np.testing.assert_allclose(weights, np.array([1, 1e-5]) / (1 + 1e-5), rtol=1e-9)


@given(losses=st.lists(st.floats(0, 5), min_size=2, max_size=20))
def test_slope_is_that_of_the_fitted_line(losses: list[float]) -> None:
    expected = np.polyfit(np.arange(len(losses)), losses, 1)[0]
    np.testing.assert_allclose(slope(np.array(losses)[:, None]), [expected], atol=1e-9)


def test_dynamic_weight_average_by_hand() -> None:
    """W = 2: smoothed training losses of a 4, 3, 1.5, of b 4, 4, 4; r = 1.5 / 3 and 1, T = 2."""
    rule = DynamicWeightAverage(AB, window=2)
    for train in ((4, 4), (2, 4)):
        assert update(rule, train, (1, 1)).tolist() == [0.5, 0.5]
    a, b = np.exp(0.25), np.exp(0.5)
    np.testing.assert_allclose(update(rule, (1, 4), (9, 0)), [a / (a + b), b / (a + b)])


def test_inverse_loss_by_hand() -> None:
    """W = 2: the smoothed validation losses 1 and 2 give 1 : 1/4, whatever training does."""
    rule = InverseLoss(AB, window=2)
    assert update(rule, (9, 9), (2, 2)).tolist() == [0.5, 0.5]
    assert update(rule, (9, 9), (1.5, 1)).tolist() == [0.5, 0.5]
    np.testing.assert_allclose(update(rule, (9, 0), (0.5, 3)), [0.8, 0.2])
    # A loss of 0 is the best there can be, not a division by 0.
    for _ in range(2):
        weights = update(rule, (0, 1), (0, 1))
    np.testing.assert_allclose(weights, [1, 0], atol=1e-11)


@pytest.mark.parametrize("name", list(BLENDINGS))
@pytest.mark.parametrize("branches", [("mel", "raw", "multiview"), ("mel", "cqt", "raw")])
@given(losses=st.lists(st.lists(st.floats(0, 20), min_size=6, max_size=6), min_size=1, max_size=12),
       window=st.integers(1, 4), warm_up=st.integers(0, 5))  # fmt: skip
def test_every_rule_gives_weights(name: str, branches: tuple, losses: list, window: int, warm_up: int) -> None:
    rule = BLENDINGS[name].rule(branches, window)
    weights = np.array([update(rule, row[:3], row[3:], warm_up=n < warm_up) for n, row in enumerate(losses)])
    assert np.all(np.isfinite(weights)) and np.all(weights >= 0)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights[: max(window, warm_up)], 1 / 3)


def test_names_of_the_rules() -> None:
    rules = {name: blending.rule for name, blending in BLENDINGS.items()}
    assert rules == {
        "paper": Algorithm1, "fixed_references": FixedReferences, "uniform": Uniform, "averaged": Averaged,
        "signed": Signed, "damped": Damped, "damped_averaged": DampedAveraged, "scaled": Scaled, "floored": Floored,
        "joint_fixed": JointFixed, "slopes": Slopes, "dwa": DynamicWeightAverage,
        "inverse_loss": InverseLoss,
    }  # fmt: skip
    with pytest.raises(InputError, match="expected a blending of paper, fixed_references, uniform, averaged, .* found"):
        BLENDINGS.find("clever")


def test_one_branch_always_has_all_the_weight() -> None:
    rule = Algorithm1(("mel",), window=1)
    assert [update(rule, (loss,), (loss,)).tolist() for loss in (2, 1, 3, 1)] == [[1.0]] * 4


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_names_branch_and_evaluation(bad: float) -> None:
    rule = Algorithm1(AB, window=1)
    update(rule, (2, 2), (2, 2))
    with pytest.raises(DivergedError, match="validation loss of branch b is (nan|inf) at evaluation 1"):
        update(rule, (1, 1), (1, bad))
    assert len(rule.history["train"]) == len(rule.history["validation"]) == 1


def transcription(train: list, validation: list, window: int) -> list[list[float]]:
    """Algorithm 1 line by line, one branch after the other, in plain Python."""
    branches, weights = len(train[0]), []
    best = {}
    for n in range(len(train)):
        raw = []
        for k in range(branches):
            low = max(0, n - window + 1)
            smooth_train = sum(row[k] for row in train[low : n + 1]) / (n + 1 - low)
            smooth_validation = sum(row[k] for row in validation[low : n + 1]) / (n + 1 - low)
            reference_train, reference_validation = best.get(k, (smooth_train, smooth_validation))
            G = reference_validation - smooth_validation
            O = (reference_train - smooth_train) - (reference_validation - smooth_validation)  # noqa: E741
            raw.append(max(G, 0) / (O * O + 1e-6))
            best[k] = (min(reference_train, smooth_train), min(reference_validation, smooth_validation))
        total = sum(raw)
        uniform = n < window or total == 0
        weights.append([1 / branches] * branches if uniform else [w / total for w in raw])
    return weights


losses = st.lists(st.lists(st.floats(0.01, 5), min_size=3, max_size=3), min_size=1, max_size=30)


@given(train=losses, validation=losses, window=st.integers(1, 8))
def test_algorithm_1_equals_the_transcription(train: list, validation: list, window: int) -> None:
    count = min(len(train), len(validation))
    rule = Algorithm1(("a", "b", "c"), window)
    found = [update(rule, t, v) for t, v in zip(train[:count], validation[:count], strict=True)]
    np.testing.assert_allclose(found, transcription(train[:count], validation[:count], window), atol=1e-5)
    assert np.all(np.array(found) >= 0)
    np.testing.assert_allclose(np.sum(found, axis=1), 1)


@pytest.mark.parametrize("measured", [[-1, 2], [1, 2, 3], [float("nan"), 1], [float("inf"), 1]])
def test_rule_that_gives_no_weights_is_named(measured: list) -> None:
    class Own(Rule):
        def measure(self) -> np.ndarray:
            return np.array(measured)

    with pytest.raises(InputError, match=r"Own: field measure: expected 2 finite numbers from 0, found \["):
        update(Own(AB, window=1), (1, 1), (1, 1))


@pytest.mark.parametrize("rule", [Rule, type("Idle", (Rule,), {}), int, None])
def test_declaration_without_a_whole_rule_is_refused(rule: object) -> None:
    from multiview.blending import Blending

    with pytest.raises(InputError, match="blending own: field rule: expected a subclass of Rule that defines measure"):
        Blending("own", "", rule)
