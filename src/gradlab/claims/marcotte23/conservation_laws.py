"""marcotte23.conservation-laws: how many independent quantities gradient flows of a two-layer linear net conserve.

In substance. For the parameterisation φ(U, V) = UVᵀ, U (n, r), V (m, r), what is conserved for all data and losses is
constant along the vector fields ∇φ_ij and along the Lie algebra that they generate: there are D − dim Lie(θ)
independent conserved functions, D = (n + m)r. UᵀU − VᵀV gives r(r + 1)/2 of them where (U; V) has full rank and n + m ≥
r, and (n + m)r − (n + m)(n + m − 1)/2 where n + m ≤ r; there are no others.

Derived (docs/notes/marcotte23.conservation-laws.md), p = n + m, k the rank of (U; V): the fields generate so(n, m),
whose orbits have dimension pk − k(k + 1)/2, and the differentials of UᵀU − VᵀV span kr − k(k − 1)/2. Both numbers add
up to pr only where k = min(p, r); at smaller rank the orbits are smaller, and more could be constant at that point
alone.

Counted from the network: φ_ij are the outputs at X = 1, each a quadratic form, whose Hessian H_ij polarisation gives,
∇φ_ij = H_ij θ; the brackets of such fields are commutators of matrices, taken until none is new. Differentials of
W_2ᵀW_2 − W_1W_1ᵀ from its rate along every unit vector.

Settings, before any run. (n, m, r) from (1, 1, 1) to (3, 3, 2), with n + m above, equal to and below r, and points of
lower rank; standard normal points.

Tolerances. Ranks are whole numbers; a singular value counts as zero below 1e-9 of the largest, and a rank is undecided
(error one) if one lies between 1e-12 and 1e-6.
"""

from functools import cached_property

import numpy as np

from gradlab.analysis import linear_nets
from gradlab.claims.cases import generator, point
from gradlab.claims.looks.linear_net import LinearFlow
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.observe.local import outputs
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

ZERO, LEAST, MOST = 1e-9, 1e-12, 1e-6


def rank_of(rows: np.ndarray) -> tuple[int, int]:
    """The rank, and how many singular values are neither zero nor not."""
    values = np.linalg.svd(np.atleast_2d(rows), compute_uv=False)
    if not values[0] > 0.0:
        return 0, 0
    shares = values / values[0]
    return int(np.sum(shares > ZERO)), int(np.sum((shares > LEAST) & (shares < MOST)))


class ConservationLaws(LinearFlow):
    """The fields ∇φ_ij and their algebra, and the conserved functions, at a point."""

    setting = "a linear net of two layers without bias"

    @classmethod
    def speaks_of(cls, problem: Problem) -> bool:
        """Whether it is one."""
        network = linear_nets.matrix_chain(problem)
        return super().speaks_of(problem) and network is not None and len(network.widths) == 3

    @property
    def sizes(self) -> tuple[int, int, int]:
        """n, m, r: outputs, inputs, hidden units."""
        m, r, n = self.network.widths
        return n, m, r

    @cached_property
    def generators(self) -> np.ndarray:
        """∇²φ_ij, (n m, P, P): φ(a + b) − φ(a) − φ(b) of unit vectors, exact."""
        units = np.eye(self.size)
        alone = np.stack([outputs(self.problem, unit).ravel() for unit in units])
        found = np.zeros((alone.shape[1], self.size, self.size))
        for a in range(self.size):
            for b in range(a + 1):
                both = outputs(self.problem, units[a] + units[b]).ravel()
                found[:, a, b] = found[:, b, a] = both - alone[a] - alone[b]
        return found

    @cached_property
    def algebra(self) -> np.ndarray:
        """A basis of the algebra of commutators, (dimension, P, P)."""
        basis: list[np.ndarray] = []
        flat = np.zeros((0, self.size**2))
        queue = list(self.generators)
        while queue:
            new = queue.pop(0)
            size = np.linalg.norm(new)
            if not size > 1e-9:
                continue
            row = new.ravel() / size
            rest = row - flat.T @ (flat @ row)
            rest -= flat.T @ (flat @ rest)
            if np.linalg.norm(rest) < MOST:
                continue
            queue += [new @ other - other @ new for other in basis]
            basis.append(new)
            flat = np.vstack([flat, rest / np.linalg.norm(rest)])
        return np.stack(basis)

    @cached_property
    def orbit(self) -> tuple[int, int]:
        """dim Lie(θ), the rank of the algebra at the point, and what is undecided of it."""
        return rank_of(np.stack([each @ self.end for each in self.algebra]))

    @cached_property
    def differentials(self) -> np.ndarray:
        """The differentials of the entries of W_2ᵀW_2 − W_1W_1ᵀ, (r², P)."""
        layers = linear_nets.layers(self.network, self.end)
        units = [linear_nets.layers(self.network, unit) for unit in np.eye(self.size)]
        return np.stack([linear_nets.conserved_rate(layers, unit) for unit in units], axis=1)

    @cached_property
    def laws(self) -> tuple[int, int]:
        """The rank of those differentials at the point, and what is undecided of it."""
        return rank_of(self.differentials)

    @cached_property
    def rank(self) -> int:
        """k of (U; V), U = W_2 and V = W_1ᵀ."""
        first, second = linear_nets.layers(self.network, self.end)
        return rank_of(np.vstack([second, first.T]))[0]

    @property
    def full(self) -> bool:
        """Whether (U; V) has full rank."""
        n, m, r = self.sizes
        return self.rank == min(n + m, r)

    @property
    def printed(self) -> int:
        """The printed number of independent conserved functions."""
        n, m, r = self.sizes
        p = n + m
        return r * (r + 1) // 2 if p >= r else p * r - p * (p - 1) // 2

    @at_most(0.0, sentence="count")
    def count(self) -> Number | None:
        """|D − dim Lie(θ) − the printed number|, at points of full rank.

        Whole numbers.
        """
        if not self.full:
            return NOT_ASKED
        found, open_ = self.orbit
        return Number(float(abs(self.size - found - self.printed)), float(open_), exact=True)

    @at_most(0.0, sentence="known")
    def known(self) -> Number | None:
        """|rank of the differentials of UᵀU − VᵀV − the printed number|, at points of full rank.

        Whole numbers.
        """
        if not self.full:
            return NOT_ASKED
        found, open_ = self.laws
        return Number(float(abs(found - self.printed)), float(open_), exact=True)

    @at_most(1e-10, sentence="known")
    def constant(self) -> Number:
        """The largest derivative of UᵀU − VᵀV along a field of the algebra, over the sizes of both.

        Rounding.
        """
        slopes = self.differentials
        fields = np.stack([each @ self.end for each in self.algebra])
        size = np.linalg.norm(slopes) * np.linalg.norm(fields)
        return Number(float(np.abs(slopes @ fields.T).max() / size), 1e-15)

    @at_most(0.0, sentence="lower")
    def lower(self) -> Number | None:
        """Of points of rank k < min(n + m, r): |dim Lie(θ) − (pk − k(k + 1)/2)| + |laws − (kr − k(k − 1)/2)|.

        Whole numbers.
        """
        if self.full:
            return NOT_ASKED
        n, m, r = self.sizes
        k, p = self.rank, n + m
        (orbit, one), (laws, two) = self.orbit, self.laws
        gap = abs(orbit - (p * k - k * (k + 1) // 2)) + abs(laws - (k * r - k * (k - 1) // 2))
        return Number(float(gap), float(one + two), exact=True)

    @at_least(1.0, role="control", exact=True)
    def brackets(self) -> float | None:
        """What the brackets add to dim Lie(θ) beyond the fields themselves, where n m < (n + m)(n + m − 1)/2 binds.

        One or more: without them too many would be counted.
        """
        n, m, _ = self.sizes
        fields = rank_of(np.stack([each @ self.end for each in self.generators]))[0]
        return (
            float(self.orbit[0] - fields) if self.full and min(n, m) > 1 and self.sizes[2] > 1 else NOT_ASKED
        )

    def shown(self):
        found = float(self.size - self.orbit[0])
        return {"found": found, "gradients": float(self.laws[0]), "hidden": float(self.sizes[2])}


def cases(key, *, sizes, lower, draws):
    """Normal points of full rank, and points of lower rank."""
    rng = generator(key)
    for n, m, r in sizes:
        for i in range(draws):
            yield _point(rng, n, m, r, min(n + m, r), i)
    for n, m, r, k in lower:
        for i in range(draws):
            yield _point(rng, n, m, r, k, i)


def _point(rng, n, m, r, k, i):
    both = linear_net.low_rank(rng, (n + m, r), k)
    problem = Problem(Dense.deep_linear((m, r, n)), Square(), Data(np.eye(m), rng.standard_normal((m, n))))
    vector = linear_nets.flat((both[n:].T, both[:n]))
    return point(
        problem, vector, net=f"{n}, {m}, {r}", inputs_and_outputs=f"n + m = {n + m}", rank=k, draw=i + 1
    )


SIZES = ((1, 1, 1), (1, 1, 3), (2, 1, 2), (2, 1, 3), (2, 1, 5), (2, 2, 2), (2, 2, 4), (2, 2, 6), (3, 3, 2))
STUDY = study(
    "marcotte23.conservation-laws",
    ConservationLaws,
    cases,
    quick={"sizes": SIZES, "lower": ((2, 2, 4, 2), (2, 1, 5, 1), (3, 3, 2, 1)), "draws": 1},
    full={"sizes": (*SIZES, (3, 2, 3), (3, 2, 7), (3, 3, 8)), "draws": 4},
    few={"sizes": ((2, 2, 2), (2, 1, 5)), "lower": ((3, 3, 2, 1),)},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel("found", "hidden", "D − dim Lie(θ)", "hidden units r", by=("inputs_and_outputs",)),
        Panel(
            "found",
            "gradients",
            "D − dim Lie(θ)",
            r"laws of $U^\top U-V^\top V$",
            by=("inputs_and_outputs",),
            diagonal=True,
        ),
        caption="Independent conserved functions of two-layer linear nets, from the algebra of the fields, against the "
        "hidden units and the independent ones of UᵀU − VᵀV: on the diagonal, but for points of lower rank.",
    ),
)
