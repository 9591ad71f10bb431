"""memo90.multiclass: cross-entropy as the exponential loss in f_y − f_c (section 14, remark, last sentence).

What is printed. "Rewriting f_{y_n}(x_n; W) − f_c(x_n; W) = f(x_n; W) we see that up to a slightly different
normalization (by a sum of exponentials rather than a single exponential) and an additional summation, the dynamics
of GD for the cross-entropy loss are those of the exponential loss for binary classification, and as such the results
in this article apply also to multi-class classification."

How it is read. −∇L = Σ_n Σ_{c≠y} p_nc ∇(f_y − f_c), p_nc = e^{−(f_y − f_c)}/(1 + Σ_{c'} e^{−(f_y − f_c')}); the
pulls of the exponential loss in all pairs are the numerators. Apply: the direction of one layer tends to that of the
multi-class SVM, as in memo90.log-margin; W/‖W‖ of deep nets to a KKT point of the largest margin min (f_y − f_c), as
in memo90.theorem3-corrected. That the statements that fail for two classes fail here too is not asked again.

What holds. All of it. One thing does not carry over: the product of a deep linear net of several outputs is not the
multi-class SVM but the solution of least nuclear norm (two layers), since Σ‖W_k‖² is; it is shown beside.

Settings, before any run. Three classes, N, d = 6, 3: one layer (8 data sets, two starts), two linear layers of three
hidden units (4 data sets), starts of standard deviation 0.5; flows to log t = 1e4 (LSODA at 1e-7). The formula at 12
random points more, of ReLU nets 3-4-3.

Tolerances. Formula: sums of N C products, 1e-12. The ratio of pulls is 1 − O(1/t). Angle of one layer: C/log t =
C·1e-4; 0.01 is allowed. KKT residual: C (log t)^{−1/2} = 0.01 C; 0.1.
"""

from functools import cached_property

import numpy as np
from scipy.optimize import nnls

from gradlab.analysis.solutions import max_margin
from gradlab.claims.cases import generator, point
from gradlab.claims.looks.exponential import angle
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import exponential, late
from gradlab.claims.studies import section, study
from gradlab.observe.local import local
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

LOGS = np.concatenate([[-5.0, 0.0, 3.0, 10.0], np.geomspace(30.0, 1e4, 9)])


class Multiclass(Look):
    setting = "a dense net of several outputs, cross-entropy, no decay"

    @classmethod
    def speaks_of(cls, problem):
        """Whether it is one."""
        return isinstance(problem.loss, CrossEntropy) and not np.any(problem.decay)

    @property
    def depth(self) -> int:
        """K."""
        return len(self.problem.network.widths) - 1

    @property
    def ran(self) -> bool:
        """Whether there is a run."""
        return "weights" in self.trajectory

    @cached_property
    def here(self):
        """The net at the end, to first order, of a point; of a run on the sphere."""
        return local(self.problem, self.end)

    def pairs(self, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """f_y − f_c of every example and other class, (N (C − 1),), and their gradients."""
        here, labels = local(self.problem, vector), np.asarray(self.problem.data.targets)
        C = here.f.shape[1]
        chosen = [(n, y, c) for n, y in enumerate(labels) for c in range(C) if c != y]
        m = np.array([here.f[n, y] - here.f[n, c] for n, y, c in chosen])
        rows = np.stack([here.jacobian[n, y] - here.jacobian[n, c] for n, y, c in chosen])
        return m, rows

    @cached_property
    def late(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """V = W/‖W‖ at the end of a run, its margins and their gradients."""
        V = self.weights[-1] / np.linalg.norm(self.weights[-1])
        return V, *self.pairs(V)

    @at_least(1e-9, role="hypothesis")
    def separated(self) -> Number | None:
        """Least f_y − f_c of W/‖W‖ at the end of a run.

        A sign.
        """
        return Number(float(self.late[1].min()), 1e-12) if self.ran else NOT_ASKED

    @at_most(1e-12, sentence="dynamics")
    def formula(self) -> Number | None:
        """‖−∇L − Σ p_nc ∇(f_y − f_c)‖ over the sum of the sizes of the terms, at a random point.

        Sums of N C products.
        """
        if self.ran:
            return NOT_ASKED
        m, rows = self.pairs(self.end)
        each = np.exp(-m).reshape(len(self.problem.data.inputs), -1)
        p = (each / (1.0 + each.sum(axis=1, keepdims=True))).ravel()
        gap = np.linalg.norm(-self.here.gradient - p @ rows)
        return Number(float(gap / (p @ np.linalg.norm(rows, axis=1))), 64.0 * EPS)

    @at_most(1e-3, sentence="dynamics")
    def normalisation(self) -> Number | None:
        """Largest |log| of the ratio of a pull to that of the exponential loss, at log t = 10 and later.

        log(1 + Σ e^{−m}) ≤ C/t.
        """
        if not self.ran:
            return NOT_ASKED
        worst = 0.0
        for row in self.weights[3:]:
            m, _ = self.pairs(row)
            each = np.exp(-m).reshape(len(self.problem.data.inputs), -1)
            worst = float(np.maximum(worst, np.log1p(each.sum(axis=1)).max()))
        return Number(worst, 1e-12)

    @at_most(0.01, sentence="applies")
    def one_layer(self) -> Number | None:
        """Angle of W to the multi-class SVM at log t = 1e4, one layer.

        C/log t.
        """
        if not self.ran or self.depth > 1:
            return NOT_ASKED
        return Number(self.to_svm(self.weights[-1]), 1e-9)

    def to_svm(self, product: np.ndarray) -> float:
        """Angle of a matrix to the multi-class SVM."""
        rows = exponential.margin_rows(self.problem)
        return angle(product, max_margin(rows, np.ones(len(rows))).direction)

    @at_most(0.1, sentence="applies")
    def deep(self) -> Number | None:
        """KKT residual of W/‖W‖ for the largest margin at log t = 1e4, two layers.

        C (log t)^{−1/2}.
        """
        return Number(self.residual(), 1e-9) if self.ran and self.depth > 1 else NOT_ASKED

    def residual(self) -> float:
        """The least KKT residual."""
        V, m, rows = self.late
        system = np.vstack([rows.T, np.diag(m - m.min())])
        return float(nnls(system, np.append(V, np.zeros(len(m))))[1])

    def shown(self):
        if not self.ran:
            return {"svm": np.nan, "kkt": np.nan, "layers": "point"}
        product, ends = np.eye(self.problem.network.widths[0]), 0
        for into, out in zip(self.problem.network.widths[:-1], self.problem.network.widths[1:], strict=True):
            product = self.weights[-1][ends : ends + into * out].reshape(out, into) @ product
            ends += into * out
        return {
            "svm": self.to_svm(product.ravel()),
            "kkt": max(self.residual(), 1e-17),
            "layers": f"{self.depth} layer{'s' * (self.depth > 1)}",
        }


def _flow(problem: Problem) -> late.Field:
    """dW/du of a linear net under Σ cross-entropy, u = log t."""
    assert isinstance(problem.network, Dense)
    widths, X = problem.network.widths, np.asarray(problem.data.inputs)
    labels = np.asarray(problem.data.targets)
    own = np.eye(widths[-1])[labels]
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    ends = np.cumsum([0] + [a * b for a, b in shapes])

    def field(u, vector):
        layers = [vector[a:b].reshape(s) for a, b, s in zip(ends[:-1], ends[1:], shapes, strict=True)]
        units = [X]
        for W in layers:
            units.append(units[-1] @ W.T)
        f = units[-1]
        gaps = f - np.sum(f * own, axis=1, keepdims=True)
        top = gaps.max(axis=1, keepdims=True)
        total = top + np.log(np.exp(gaps - top).sum(axis=1, keepdims=True))
        pull = np.exp(np.minimum(u + gaps - total, 600.0)) * (1.0 - own)
        back = own * pull.sum(axis=1, keepdims=True) - pull
        found = []
        for k in range(len(layers) - 1, -1, -1):
            found.append((back.T @ units[k]).ravel())
            back = back @ layers[k]
        return np.concatenate(found[::-1])

    return field


def cases(key, *, data, deep, points):
    """Runs of one and two linear layers, and random points."""
    random = generator(key)
    for i in range(data):
        X, labels = exponential.three_classes(random, 6, 3)
        for widths in ((3, 3), (3, 3, 3))[: 2 if i < deep else 1]:
            problem = Problem(Dense(widths, "identity"), CrossEntropy("sum"), Data(X, labels))
            for start in range(2 if len(widths) == 2 else 1):
                w = 0.5 * random.standard_normal(problem.size)
                net = "-".join(map(str, widths))
                yield late.orbit(
                    _flow(problem), None, w, LOGS, problem, 1e-7, net=net, draw=i + 1, start=start + 1
                )
    for i in range(points):
        X, labels = exponential.three_classes(random, 6, 3)
        problem = Problem(Dense((3, 4, 3), "relu"), CrossEntropy("sum"), Data(X, labels))
        yield point(problem, random.standard_normal(problem.size), net="3-4-3 ReLU", draw=i + 1)


STUDY = study(
    "memo90.multiclass",
    Multiclass,
    cases,
    quick={"data": 8, "deep": 4, "points": 12},
    full={"data": 40, "deep": 40, "points": 40},
    few={"data": 1, "deep": 1, "points": 2},
    figure=Figure(
        Panel(
            "svm",
            "case",
            "angle to the multi-class SVM",
            "case",
            by=("layers",),
            log="y",
            reference={"tolerance": 0.01},
        ),
        Panel("kkt", "case", "KKT residual", "case", by=("layers",), log="y", reference={"tolerance": 0.1}),
        caption="Left: angle of the product of the layers to the multi-class SVM at log t = 1e4: one layer "
        "tends to it, two layers need not. Right: KKT residual of W/‖W‖ for the largest margin.",
    ),
    settings=section(__doc__, "Settings"),
)
