"""memo90.fig7: the product of the norms, and the norm of a layer, against time, by depth.

The runs, their tolerances and what is measured are those of :mod:`gradlab.claims.memo90.growth`, at equal norms, K =
1 to 6 and 12, f̃ = 1 (1/2 and 2 beside it in the quick budget). The figure's own settings are not printed beyond
"exponential loss".

Settings. As memo90.growth.
"""

from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.memo90 import growth
from gradlab.claims.studies import section, study


class _Shared(growth.Growth):
    @at_most(0.02, sentence="one_layer")
    def one(self) -> float | None:
        """|ρ f̃/log t − 1| at log t = 1e4, K = 1.

        R = f̃² t + C: 2 |log f̃|/log t = 2e-4, and the solve.
        """
        return abs(self.f[-1] / self.logs[-1] - 1.0) if self.K == 1 else NOT_ASKED

    @at_most(1e-4, sentence="one_layer")
    def one_layer(self) -> float | None:
        """|log((R − R_0)/(f̃² (t − t_0)))| at log t = 12, for K = 1.

        f = 12 is known to 1e-6.
        """
        return self.log_constant(1.0, self.at(12.0)) if self.K == 1 else NOT_ASKED

    eq53 = eq54 = eq55 = eq56 = eq57 = two_layers = None


class Fig7Printed(_Shared):
    @at_least(1.0, sentence="product")
    def faster(self) -> float | None:
        """Π ρ/log t at log t = 1e4 over that at log t = 100, for K > 1.

        Above 1 and growing if the product diverges faster than log t; f is known to 1e-6 of its size.
        """
        return self.ratio() if self.K > 1 else NOT_ASKED


class Fig7Corrected(_Shared):
    @at_most(0.02, sentence="product")
    def same(self) -> float:
        """|Π ρ f̃/log t − 1| at log t = 1e4.

        (2 log s + c)/s = 0.0025 at s = 1e4, whatever K.
        """
        return float(abs(self.f[-1] / self.logs[-1] - 1.0))

    @at_least(1.0, sentence="product")
    def ahead(self) -> Number | None:
        """f − log t at log t = 1e4 less that at 100, over (2 − 2/K) log 100 − 1, for K > 1.

        The lead over one layer grows by (2 − 2/K) log 100 ≥ 4.6; what the next terms take, p (p log s + c)/s at s =
        100, is below 0.3.
        """
        if self.K == 1:
            return NOT_ASKED
        first, last = self.at(growth.EARLY), self.at(growth.LATE)
        lead = self.f - self.logs
        return Number(float((lead[last] - lead[first]) / (self.power * 4.605 - 1.0)))


STUDIES = tuple(
    study(
        name,
        look,
        growth.cases,
        figure=growth.drawn_growth,
        settings=section(growth.__doc__, "Settings"),
        **growth.BUDGETS,
    )
    for name, look in (("memo90.fig7", Fig7Printed), ("memo90.fig7-corrected", Fig7Corrected))
)
