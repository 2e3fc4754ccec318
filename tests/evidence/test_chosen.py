"""An interval that makes the choice anew covers where one that takes it as given does not."""

import numpy as np
import pytest

from softmi.evidence.chosen import best_choice, chosen_interval
from softmi.evidence.statistics import crossed_interval

THRESHOLDS = np.linspace(0, 1, 12)
# Standard deviations, on the scale of logits, of seeds, images and their interaction.
REGIMES = {
    "seeds": (0.3, 0.3, 0.3),
    "images": (0.01, 2.0, 0.1),
    "interaction": (0.01, 0.1, 2.0),
    "mixed": (0.15, 1.0, 1.0),
}


def drawn(rng, regime, seeds, images, peaks=(0.45, 0.5), height=(0.4, 0.2)):
    """Hits of two methods whose accuracy has a flat peak over thresholds, on the same images."""
    of_seeds, of_images, of_both = REGIMES[regime]
    shared = rng.normal(0, of_images, (1, images, 1))
    best = rng.normal(0, 0.15, (1, images, 1))  # where each image is right most easily
    found = []
    for peak, top in zip(peaks, height, strict=True):
        ease = top - 8 * (THRESHOLDS - peak - best) ** 2 + shared
        ease = ease + rng.normal(0, of_seeds, (seeds, 1, 1))
        ease = ease + rng.normal(0, of_both, (seeds, images, 1))
        found.append(ease + rng.logistic(size=(1, images, 1)) > 0)
    return found


def experiment(rng, regime, seeds, held=150, test=400):
    both = drawn(rng, regime, seeds, held + test)
    return [h[:, :held] for h in both], [h[:, held:] for h in both]


def taken_as_given(held, test):
    x = [
        np.take_along_axis(h, best_choice(g)[:, None, None], 2)[..., 0].astype(float)
        for g, h in zip(held, test, strict=True)
    ]
    return crossed_interval(x[0] - x[1])


def coverage(regime, seeds, experiments, draws=400, **sizes):
    """Shares of intervals that hold the mean of all experiments: choice anew, and as given."""
    rng = np.random.default_rng(10 * seeds + list(REGIMES).index(regime))
    found = [experiment(rng, regime, seeds, **sizes) for _ in range(experiments)]
    anew = [chosen_interval(held, test, draws=draws) for held, test in found]
    given = [taken_as_given(held, test) for held, test in found]
    truth = np.mean([one["mean"] for one in anew])
    return [
        np.mean([one["low"] <= truth <= one["high"] for one in ones]) for ones in (anew, given)
    ]


@pytest.mark.minutes
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("regime", REGIMES)
def test_the_interval_covers_in_every_regime(regime, seeds):
    assert coverage(regime, seeds, 1000)[0] >= 0.93


def test_the_interval_covers_where_one_that_takes_the_choice_as_given_does_not():
    """Few images choose, many judge; 0.95 less three standard errors of 50 experiments."""
    anew, given = coverage("images", 3, 50, draws=100, held=20, test=2000)
    assert anew >= 0.95 - 3 * (0.95 * 0.05 / 50) ** 0.5
    assert given < anew - 0.05


def test_with_nothing_to_choose_it_is_the_crossed_interval():
    rng = np.random.default_rng(0)
    held, test = experiment(rng, "mixed", 4)
    one = [h[..., 5:6] for h in held], [h[..., 5:6] for h in test]
    found, expected = chosen_interval(*one, draws=4000), taken_as_given(*one)
    assert found["mean"] == pytest.approx(expected["mean"])
    assert found["values"] == pytest.approx(expected["values"])
    # The quantiles of 4,000 draws have a standard error of 2 %; t of 399 degrees is 0.3 % wider.
    half = (expected["high"] - expected["low"]) / 2
    for end in ("low", "high"):
        assert abs(found[end] - expected[end]) < 0.07 * half


def test_one_method_alone_has_the_interval_of_its_accuracy():
    held, test = experiment(np.random.default_rng(1), "mixed", 3)
    nothing = [np.zeros_like(held[1]), np.zeros_like(test[1])]
    alone = chosen_interval(held[:1], test[:1])
    against = chosen_interval([held[0], nothing[0]], [test[0], nothing[1]])
    assert alone | {"choices": None} == against | {"choices": None}
    assert alone["choices"] == against["choices"][:1]


def test_of_one_network_it_holds_images_and_choices_alone():
    """Two networks that do the same add nothing to what one says, but for no spread of seeds."""
    held, test = experiment(np.random.default_rng(6), "images", 1)
    one = chosen_interval(held, test)
    both = chosen_interval(*([h.repeat(2, 0) for h in hits] for hits in (held, test)))
    assert "variance" not in one
    assert (one["low"], one["high"]) == pytest.approx((both["low"], both["high"]), abs=1e-9)


def test_a_method_does_not_differ_from_itself():
    held, test = experiment(np.random.default_rng(2), "mixed", 3)
    found = chosen_interval([held[0]] * 2, [test[0]] * 2)
    assert found["mean"] == 0
    assert (found["low"], found["high"]) == pytest.approx((0, 0), abs=1e-15)


def test_swapping_the_methods_turns_the_interval_round():
    held, test = experiment(np.random.default_rng(3), "images", 3)
    there, back = chosen_interval(held, test), chosen_interval(held[::-1], test[::-1])
    assert (back["low"], back["high"]) == pytest.approx((-there["high"], -there["low"]))


def test_of_choices_that_are_equally_good_the_first_is_taken():
    held = np.array([[[0, 1, 1], [1, 1, 1]], [[1, 0, 1], [1, 0, 0]]], dtype=bool)
    assert best_choice(held).tolist() == [1, 0]


def test_the_same_classes_are_drawn_among_images_that_choose_and_that_judge():
    """Two classes that need different choices: a draw of one class alone chooses right for it."""
    of_held, of_test = np.repeat([0, 1], 10), np.repeat([0, 1], 50)
    held, test = ((of[:, None] == np.arange(2))[None].repeat(2, 0) for of in (of_held, of_test))
    found = chosen_interval([held], [test], (of_held, of_test), draws=4000)
    assert found["mean"] == pytest.approx(0.5)
    assert found["high"] == pytest.approx(0.75, abs=0.01)  # less the mean of the draws, 3/4


def test_held_out_images_of_a_class_that_is_not_judged_are_never_drawn():
    held, test = experiment(np.random.default_rng(7), "mixed", 2, held=30, test=40)
    of_test, of_held = np.arange(40) % 3, np.arange(30) % 3
    more = [np.concatenate([h, np.ones((2, 5, h.shape[2]), bool)], axis=1) for h in held]
    found = chosen_interval(held, test, (of_held, of_test))
    with_more = chosen_interval(more, test, (np.append(of_held, [7, 7, 9, 9, 9]), of_test))
    assert (with_more["low"], with_more["high"]) == (found["low"], found["high"])


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    held, test = experiment(np.random.default_rng(4), "mixed", 3)
    assert chosen_interval(held, test) == chosen_interval(held, test)
    assert chosen_interval(held, test, seed=1) != chosen_interval(held, test)


@pytest.mark.parametrize(
    ("held", "test", "message"),
    [
        ([], [], "one method or two"),
        ([(2, 5, 3)] * 3, [(2, 9, 3)] * 3, "one method or two"),
        ([(2, 5, 3)], [(2, 9, 4)], "belong together"),
        ([(2, 5, 3)], [(3, 9, 3)], "belong together"),
        ([(2, 5, 3), (2, 6, 3)], [(2, 9, 3), (2, 9, 3)], "belong together"),
        ([(2, 5, 3), (2, 5, 4)], [(2, 9, 3), (2, 8, 4)], "belong together"),
        ([(0, 5, 3)], [(0, 9, 3)], "need a seed"),
        ([(2, 0, 3)], [(2, 9, 3)], "a held-out image"),
        ([(2, 5, 3)], [(2, 1, 3)], "two test images"),
    ],
)
@pytest.mark.usefixtures("no_shape_checks")
def test_what_does_not_belong_together_is_refused(held, test, message):
    held, test = ([np.zeros(shape, bool) for shape in shapes] for shapes in (held, test))
    with pytest.raises(ValueError, match=message):
        chosen_interval(held, test)


def test_groups_of_another_length_are_refused():
    held, test = experiment(np.random.default_rng(5), "mixed", 2, held=6, test=8)
    with pytest.raises(ValueError, match="groups of 6 and 8 images, got 6 and 7"):
        chosen_interval(held, test, (range(6), range(7)))
