"""Deep linear nets and the linear classifier: closed forms, families of problems, and gl.classify beside a study."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import worlds
from gradlab.analysis.equilibria.classification import classify
from gradlab.analysis.landscape import of_problem
from gradlab.analysis.linear_nets import conserved, end_to_end
from gradlab.analysis.solutions import minimum_norm
from gradlab.claims.chitour import classifier, gradient, landscape, normal_hyperbolicity
from gradlab.claims.judging import NOT_MET, REFUTED, SUPPORTED, Verdict
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import Study
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def scalar(depth: int, half: bool = False) -> Problem:
    """(3 − w_N ⋯ w_1)²."""
    data = Data(np.ones((1, 1)), np.array([[3.0]]))
    return Problem(Dense.deep_linear((1,) * (depth + 1)), Square(half=half), data)


def judged(study: Study, problem: Problem, points: list[list[float]]) -> Verdict:
    return study.judge(study.measure([linear_net.recorded(problem, np.asarray(points), name="one")]))


def numbers(verdict: Verdict) -> dict[str, float | None]:
    return {part.id: part.number for part in verdict.parts}


def test_the_printed_field_of_two_scalars_is_half_of_the_gradient() -> None:
    # at W = (2, ½) the field is (1, 4), −∇F is (2, 8)
    case = linear_net.recorded(scalar(2), np.array([[2.0, 0.5]]), name="one")
    descent, field, _ = case.look(gradient.GradientPrinted).fields[0]
    np.testing.assert_allclose(descent, [2.0, 8.0], rtol=1e-14)
    np.testing.assert_allclose(field, [1.0, 4.0], rtol=1e-14)


@pytest.mark.parametrize("loss", [{"half": True}, {"reduction": "mean"}])
def test_the_gradient_of_another_loss_is_outside_the_claim(loss: dict) -> None:
    problem = Problem(Dense.deep_linear((2, 1, 1)), Square(**loss), Data(np.eye(2), np.array([[3.0], [1.0]])))
    points = np.random.default_rng(0).normal(size=(2, 3))
    assert {judged(study, problem, points.tolist()).verdict for study in gradient.STUDIES} == {NOT_MET}


def test_an_isolated_saddle_refutes_the_printed_dimension_and_nothing_else() -> None:
    printed, corrected = landscape.STUDIES
    with jax.enable_x64(True):
        net = linear_net.reduced(np.random.default_rng(1), (2, 2, 2), True)
        found = of_problem(net)
        assert found is not None
        points = linear_net.stratum_points(found, np.random.default_rng(2)).tolist()
        verdict = judged(printed, net, points)
        assert [part.id for part in verdict.parts if part.verdict == REFUTED] == ["dimension"]
        assert all(part.verdict != REFUTED for part in judged(corrected, net, points).parts)


def test_where_there_are_more_inputs_than_outputs_the_printed_dimension_holds() -> None:
    study = landscape.STUDIES[0]
    with jax.enable_x64(True):
        cases = study.cases(jax.random.key(0), shapes=((4, 3, 2),), rotations=(True, True), rounds=1)
        assert study.judge(study.measure(cases)).verdict == SUPPORTED


def test_three_scalar_layers_have_a_saddle_without_negative_eigenvalue() -> None:
    # at 0 the Hessian is zero, at (0, 2, 0) it is not, at (1, 1, 3) there is a minimum
    look = linear_net.recorded(
        scalar(3), np.array([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 1.0, 3.0]]), name="one"
    )
    seen = look.look(landscape.LandscapeCorrected).seen
    assert [one.signs.negative for one in seen] == [0, 1, 0]
    assert [one.strict for one in seen] == [False, True, False]
    assert [one.rank for one in seen] == [0, 0, 1]


def test_the_hyperbola_and_the_origin_have_the_dimensions_of_their_kernels() -> None:
    look = linear_net.recorded(scalar(2), np.array([[0.0, 0.0], [1.0, 3.0]]), name="one").look(
        normal_hyperbolicity.NormalHyperbolicity
    )
    np.testing.assert_array_equal(look.nullities, [0.0, 1.0])
    np.testing.assert_array_equal(look.dimensions, [0.0, 1.0])


def test_classify_and_the_study_of_normal_hyperbolicity_say_the_same() -> None:
    _, cases = worlds.few("chitour.normal-hyperbolicity")
    with jax.enable_x64(True):
        for case in cases:
            look = case.look(normal_hyperbolicity.NormalHyperbolicity)
            for vector, null, dimension in zip(
                look.critical[0], look.nullities, look.dimensions, strict=True
            ):
                found = classify(case.problem, case.problem.unravel(vector))
                assert found.kernel is not None
                assert found.kernel.dimension == null, case.label
                assert found.normally_hyperbolic is bool(null == dimension), case.label


def test_balanced_layers_have_the_product_and_conserve_nothing_but_zero() -> None:
    rng = np.random.default_rng(3)
    target = linear_net.low_rank(rng, (3, 5), 2, 0.7)
    layers = linear_net.balanced(rng, target, (5, 4, 6, 3))
    np.testing.assert_allclose(end_to_end(layers), target, atol=1e-14)
    assert np.linalg.norm(conserved(layers)) < 1e-14
    assert np.linalg.norm(conserved((2.0 * layers[0], *layers[1:]))) > 0.1


@pytest.mark.parametrize(
    ("kind", "rank"), [("random", 4), ("repeated", 2), ("deficient", 2), ("identity", 4)]
)
def test_inputs_have_the_rank_of_their_kind(kind: str, rank: int) -> None:
    rng = np.random.default_rng(3)
    assert np.linalg.matrix_rank(linear_net.linear_inputs(rng, 7, 4, kind)) == rank


def test_one_image_with_either_label_has_the_residuals_of_a_mean() -> None:
    # W is the mean of n labels of variance ½: R_train = ½(1 − 1/n), R_new = ½(1 + 1/n)
    labels = np.eye(2)[np.random.default_rng(0).integers(2, size=1000)]
    curve = classifier.learning_curve(np.ones((1000, 1)), labels, rank=8, splits=200)
    n = np.asarray([4, 8, 16, 32, 64])
    np.testing.assert_allclose(curve["train"].mean(axis=1), 0.5 * (1 - 1 / n), atol=0.03)
    np.testing.assert_allclose(curve["new"].mean(axis=1), 0.5 * (1 + 1 / n), atol=0.03)


def test_standardised_training_images_have_unit_moment_and_predict_alike() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(2, size=400)
    X, Y = random.normal(size=(400, 8)), np.eye(2)[labels]
    X[:, 0] += 3.0 * labels - 1.5
    Z = classifier._standardised(X, 16)
    np.testing.assert_allclose(Z[:16].T @ Z[:16] / 16, np.eye(8), atol=1e-12)
    plain, changed = X @ minimum_norm(X[:16], Y[:16]).T, Z @ minimum_norm(Z[:16], Y[:16]).T
    np.testing.assert_allclose(changed, plain, atol=1e-10)
