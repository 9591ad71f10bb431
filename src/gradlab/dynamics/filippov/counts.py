"""What a call of the solver of piecewise linear nets costs."""


class Counts:
    """Evaluations of the field, Jacobians, accepted and rejected steps of one call."""

    def __init__(self) -> None:
        self.evaluations = self.jacobians = self.steps = self.rejected = 0
