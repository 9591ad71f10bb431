"""What a specification says is what is made of it."""

from __future__ import annotations

import tomllib

import jax
import numpy as np
import pytest
from variations import BASE, EXAMPLES, built, parsed

from gradlab import specification
from gradlab.dynamics import charts, clocks, descent, end_to_end, flow, kicks
from gradlab.dynamics.filippov.solver import Filippov
from gradlab.dynamics.optimiser import Optimiser
from gradlab.dynamics.solvers import methods
from gradlab.dynamics.solvers.auto import Auto
from gradlab.dynamics.solvers.fixed import Fixed


def test_a_written_default_is_the_same_run() -> None:
    plain = parsed()
    written = parsed("[loss]", 'activation = "relu"\nbias = false\n[loss]\nreduction = "sum"')
    assert plain.canonical() == written.canonical()
    assert plain.canonical() != parsed("[2, 8, 1]", "[2, 9, 1]").canonical()
    assert plain.canonical() == parsed("", 'title = "another name"').canonical()


def test_a_canonical_specification_reads_back_as_itself() -> None:
    for text in (BASE, *(path.read_text() for path in EXAMPLES.glob("*.toml"))):
        given = tomllib.loads(text)
        given.pop("sweep", None)  # a design beside the specification that it varies
        spec = specification.parse(given)
        assert specification.parse(spec.canonical()).canonical() == spec.canonical()


FLOWS = [
    ('kind = "gradient flow"', flow.GradientFlow),
    ('kind = "normalised"', charts.NormalisedFlow),
    ('kind = "weight normalisation"', charts.WeightNormalisation),
    ('kind = "unit-norm penalty"\npenalties = [0.1, 0.2]', charts.UnitNormPenalty),
    ('kind = "gradient descent"\nstep = 0.1', descent.GradientDescent),
    ('kind = "sgd"\nstep = 0.1\nbatch = 3', descent.StochasticGradientDescent),
    ('kind = "momentum"\nstep = 0.1', Optimiser),
    ('kind = "nesterov"\nstep = 0.1\nmomentum = 0.8\nbatch = 3\nsampling = "epoch"', Optimiser),
    ('kind = "adam"\nstep = { kind = "power law", step = 0.1, exponent = 0.5 }', Optimiser),
    ('kind = "adagrad"\nstep = 0.1', Optimiser),
    ('kind = "adadelta"', Optimiser),
    ('kind = "rmsprop"\nstep = 0.01\nmomentum = 0.5', Optimiser),
    ('kind = "gradient flow"\nkicks = { sigma = 0.1, every = 0.5 }', kicks.Kicked),
]


@pytest.mark.parametrize(("text", "kind"), FLOWS)
def test_every_kind_of_flow_is_made(text: str, kind: type) -> None:
    assert isinstance(built("until = 1.0", f"until = 1.0\n[flow]\n{text}").flow, kind)


def test_an_end_to_end_flow_speaks_of_the_depth_one_problem() -> None:
    text = BASE.replace("[2, 8, 1]", "[2, 1]") + '[flow]\nkind = "end-to-end"\ndepth = 3\n'
    made = built(text=text).flow
    assert isinstance(made, end_to_end.EndToEndFlow)
    assert made.depth == 3


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('step = { kind = "power law", step = 0.1, exponent = 0.5, delay = 2.0 }', descent.PowerLaw),
        ('step = { kind = "geometric", step = 0.1, factor = 0.5 }', descent.Geometric),
        ('step = { kind = "loss-scaled", step = 0.1 }', descent.LossScaled),
        ("step = 0.1", descent.Constant),
    ],
)
def test_every_kind_of_step_is_made(text: str, kind: type) -> None:
    made = built("until = 1.0", f'until = 1.0\n[flow]\nkind = "gradient descent"\n{text}')
    assert isinstance(made.flow.step, kind)
    assert float(made.flow.step.step) == 0.1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("time", clocks.Time),
        ("log-loss", clocks.LogLoss),
        ("arc length", clocks.ArcLength),
        ("log-norm", clocks.LogNorm),
    ],
)
def test_every_clock_is_made(name: str, kind: type) -> None:
    assert isinstance(built("until = 1.0", f'until = 1.0\n[clock]\nkind = "{name}"').clock, kind)


@pytest.mark.parametrize(
    ("text", "kind", "field", "value"),
    [
        ('method = "tsit5"\ntolerance = 1e-7', methods.Adaptive, "tolerance", 1e-7),
        ("tolerance = 1e-7", Auto, "tolerance", 1e-7),
        ('method = "bdf"\ntolerance = 1e-7', methods.Adaptive, "tolerance", 1e-7),
        ('method = "filippov"\ntolerance = 1e-7', Filippov, "tolerance", 1e-7),
        ('method = "heun"\nstep = 0.01', Fixed, "step", 0.01),
        ("step = 0.01", Fixed, "step", 0.01),
    ],
)
def test_the_solver_is_as_asked(text: str, kind: type, field: str, value: float) -> None:
    made = built("until = 1.0", f"until = 1.0\n[solver]\n{text}").solver
    assert isinstance(made, kind)
    assert float(getattr(made, field)) == value


def test_records_are_spaced_as_asked() -> None:
    linear = built("until = 1.0", "until = 1.0\ncount = 5").records
    assert np.array_equal(linear, [0.0, 0.25, 0.5, 0.75, 1.0])
    log = built("until = 1.0", 'until = 1.0\ncount = 4\nspacing = "log"\nfirst = 0.01').records
    assert np.allclose(log, [0.0, 0.01, 0.1, 1.0], rtol=1e-14)
    steps = built(
        "until = 1.0", 'until = 10\ncount = 50\n[flow]\nkind = "gradient descent"\nstep = 0.1'
    ).records
    assert np.array_equal(steps, np.arange(11.0))


def test_a_stop_at_a_time_is_one_at_its_logarithm() -> None:
    assert float(built("until = 1.0", "until = 1.0\n[stop]\ntime = 100.0").stops.log_t) == np.log(100.0)


@pytest.mark.parametrize(
    ("network", "loss", "data"),
    [
        ('kind = "dense"\nwidths = [64, 4, 2]', "cross-entropy", 'kind = "digits"\nclasses = [3, 8]'),
        ('kind = "dense"\nwidths = [64, 1]', "logistic", 'kind = "digits"\nclasses = [3, 8]'),
        ('kind = "dense"\nwidths = [64, 10]', "square", 'kind = "digits"'),
        (
            'kind = "convolutional"\nshape = [1, 8, 8]\noutputs = 10\nactivation = "gelu"',
            "cross-entropy",
            'kind = "digits"',
        ),
        (
            'kind = "pooled"\nshape = [1, 8, 8]\nchannels = [2]\nkernel = 3\nhidden = 4\noutputs = 10',
            "cross-entropy",
            'kind = "digits"',
        ),
        (
            'kind = "residual"\ninputs = 30\nwidth = 5\nblocks = 2\noutputs = 1',
            "exponential",
            'kind = "breast_cancer"',
        ),
        ('kind = "dense"\nwidths = [30, 1]', "square", 'kind = "breast_cancer"'),
        ('kind = "dense"\nwidths = [10, 1]', "square", 'kind = "diabetes"'),
        (
            'kind = "dense"\nwidths = [4, 3]',
            "cross-entropy",
            'kind = "gaussian clouds"\nexamples = 9\ninputs = 4\nclasses = 3',
        ),
        (
            'kind = "dense"\nwidths = [4, 2]',
            "square",
            'kind = "gaussian clouds"\nexamples = 9\ninputs = 4',
        ),
        (
            'kind = "dense"\nwidths = [4, 2]\nactivation = { kind = "polynomial", coefficients = [0, 0, 1] }',
            "square",
            'kind = "teacher"\nexamples = 9\nnetwork = { widths = [4, 3, 2] }',
        ),
        (
            'kind = "dense"\nwidths = [4, 2]\nactivation = { kind = "smooth_relu", epsilon = 0.3 }',
            "square",
            'kind = "whitened regression"\nexamples = 9\ninputs = 4\noutputs = 2',
        ),
        (
            'kind = "dense"\nwidths = [4, 4, 2]\nactivation = "identity"\ninit = { kind = "identity" }',
            "square",
            'kind = "linear regression"\nexamples = 9\ninputs = 4\noutputs = 2\nrank = 2',
        ),
        ('kind = "dense"\nwidths = [8, 1]', "square", 'kind = "chebyshev"\ndegree = 7\nexamples = 5'),
    ],
)
def test_every_kind_of_network_loss_and_data_is_made(network: str, loss: str, data: str) -> None:
    text = f'[network]\n{network}\n[loss]\nkind = "{loss}"\n[data]\n{data}\n[records]\nuntil = 1.0\n'
    made = built(text=text)
    risk = made.problem.risk(made.weights)
    assert risk.dtype == np.float64
    assert np.isfinite(risk)


def test_dropout_is_refused_where_nothing_would_drop() -> None:
    net = 'kind = "pooled"\nshape = [1, 8, 8]\nchannels = [2]\nhidden = 4\noutputs = 10\ndropout = 0.5'
    text = (
        f'[network]\n{net}\n[loss]\nkind = "cross-entropy"\n[data]\nkind = "digits"\n[records]\nuntil = 4\n'
    )
    with pytest.raises(specification.SpecificationError, match="dropout acts in the iterations of sgd"):
        built(text=text)
    assert built(text=text + '[flow]\nkind = "momentum"\nstep = 0.1\nbatch = 8\n').problem.network.random


def test_the_seed_moves_the_weights_and_not_the_data() -> None:
    one, two = built("", "seed = 1"), built("", "seed = 2")
    assert np.array_equal(one.problem.data.inputs, two.problem.data.inputs)
    assert not np.array_equal(one.weights[0], two.weights[0])


def test_importing_specifications_changes_no_setting() -> None:
    with jax.enable_x64(False):
        built()
        assert jax.numpy.ones(()).dtype == np.float32


def test_the_distance_to_the_least_norm_is_looked_at_where_it_has_a_meaning() -> None:
    name = "distance_to_minimum_norm"
    text = BASE.replace("[2, 8, 1]", "[2, 1]").replace('"exponential"', '"square"')
    text = f'observables = ["loss", "{name}"]' + text.replace('"separable"', '"linear regression"')
    made = built(text=text)
    loss, distance = made.observables
    least = np.linalg.lstsq(made.problem.data.inputs, made.problem.data.targets, rcond=None)[0].T
    assert (loss, distance.name) == ("loss", name)
    assert np.allclose(distance.solution[0], least, rtol=1e-12)
    with pytest.raises(specification.SpecificationError, match="one linear layer under the square loss"):
        built(text=text.replace("[2, 1]", "[2, 8, 1]"))
