


class Counted(gl.observables.Observable):
    """1, and a mark that it was asked for."""

    name: str = eqx.field(static=True, default="counted")

    def __call__(self, problem: Any, weights: Any, y: Any, t: Any) -> Any:
        jax.debug.callback(lambda: ASKED.append(1))
        return jnp.ones(())


ASKED: list[int] = []


@pytest.mark.parametrize("steps", [None, 23])
def test_iterations_are_looked_at_where_a_record_is_and_not_between(
    monkeypatch: pytest.MonkeyPatch, steps: int | None
) -> None:
    problem = gl.Problem(gl.Dense((2, 1)), gl.Square("mean"), gl.Data(np.eye(2), np.ones((2, 1))))
    flow, stop = gl.GradientDescent(problem, 0.1), gl.Stop(steps=steps)

    def ran() -> Any:
        ASKED.clear()
        made = gl.run(flow, (np.zeros((1, 2)),), [40.0], observables=["loss", Counted()], stop=stop)
        jax.effects_barrier()
        return made

    monkeypatch.setattr(driving, "way", lambda *known: "fully")
    whole, once = ran(), len(ASKED)
    monkeypatch.setattr(driving, "ATTEMPTS", 3)
    monkeypatch.setattr(driving.time, "perf_counter", iter(np.arange(0.0, 1e4, 0.5)).__next__)  # 3 in every call
    cut = ran()
    # One that stopped between records is looked at by a call more.
    assert len(ASKED) == once == 2
    assert int(cut["step"][-1]) == (steps or 40)
    assert cut.result == whole.result
    for name in ("loss", "final_weights", "counted"):
        np.testing.assert_array_equal(cut[name], whole[name])


class Counted(gl.observables.Observable):
    """1, and a mark that it was asked for."""

    name: str = eqx.field(static=True, default="counted")

    def __call__(self, problem: Any, weights: Any, y: Any, t: Any) -> Any:
        jax.debug.callback(lambda: ASKED.append(1))
        return jnp.ones(())


ASKED: list[int] = []


@pytest.mark.parametrize("steps", [None, 23])
def test_iterations_are_looked_at_where_a_record_is_and_not_between(
    monkeypatch: pytest.MonkeyPatch, steps: int | None
) -> None:
    problem = gl.Problem(gl.Dense((2, 1)), gl.Square("mean"), gl.Data(np.eye(2), np.ones((2, 1))))
    flow, stop = gl.GradientDescent(problem, 0.1), gl.Stop(steps=steps)

    def ran() -> Any:
        ASKED.clear()
        made = gl.run(flow, (np.zeros((1, 2)),), [40.0], observables=["loss", Counted()], stop=stop)
        jax.effects_barrier()
        return made

    monkeypatch.setattr(driving, "way", lambda *known: "fully")
    whole, once = ran(), len(ASKED)
    monkeypatch.setattr(driving, "ATTEMPTS", 3)
    monkeypatch.setattr(driving.time, "perf_counter", iter(np.arange(0.0, 1e4, 0.5)).__next__)  # 3 in every call
    cut = ran()
    # One that stopped between records is looked at by a call more.
    assert len(ASKED) == once == 2
    assert int(cut["step"][-1]) == (steps or 40)
    assert cut.result == whole.result
    for name in ("loss", "final_weights", "counted"):
        np.testing.assert_array_equal(cut[name], whole[name])


class Counted(gl.observables.Observable):
    """1, and a mark that it was asked for."""

    name: str = eqx.field(static=True, default="counted")

    def __call__(self, problem: Any, weights: Any, y: Any, t: Any) -> Any:
        jax.debug.callback(lambda: ASKED.append(1))
        return jnp.ones(())


ASKED: list[int] = []


@pytest.mark.parametrize("steps", [None, 23])
def test_iterations_are_looked_at_where_a_record_is_and_not_between(
    monkeypatch: pytest.MonkeyPatch, steps: int | None
) -> None:
    problem = gl.Problem(gl.Dense((2, 1)), gl.Square("mean"), gl.Data(np.eye(2), np.ones((2, 1))))
    flow, stop = gl.GradientDescent(problem, 0.1), gl.Stop(steps=steps)

    def ran() -> Any:
        ASKED.clear()
        made = gl.run(flow, (np.zeros((1, 2)),), [40.0], observables=["loss", Counted()], stop=stop)
        jax.effects_barrier()
        return made

    monkeypatch.setattr(driving, "way", lambda *known: "fully")
    whole, once = ran(), len(ASKED)
    monkeypatch.setattr(driving, "ATTEMPTS", 3)
    monkeypatch.setattr(driving.time, "perf_counter", iter(np.arange(0.0, 1e4, 0.5)).__next__)  # 3 in every call
    cut = ran()
    # One that stopped between records is looked at by a call more.
    assert len(ASKED) == once == 2
    assert int(cut["step"][-1]) == (steps or 40)
    assert cut.result == whole.result
    for name in ("loss", "final_weights", "counted"):
        np.testing.assert_array_equal(cut[name], whole[name])


class Counted(gl.observables.Observable):
    """1, and a mark that it was asked for."""

    name: str = eqx.field(static=True, default="counted")

    def __call__(self, problem: Any, weights: Any, y: Any, t: Any) -> Any:
        jax.debug.callback(lambda: ASKED.append(1))
        return jnp.ones(())


ASKED: list[int] = []


@pytest.mark.parametrize("steps", [None, 23])
def test_iterations_are_looked_at_where_a_record_is_and_not_between(
    monkeypatch: pytest.MonkeyPatch, steps: int | None
) -> None:
    problem = gl.Problem(gl.Dense((2, 1)), gl.Square("mean"), gl.Data(np.eye(2), np.ones((2, 1))))
    flow, stop = gl.GradientDescent(problem, 0.1), gl.Stop(steps=steps)

    def ran() -> Any:
        ASKED.clear()
        made = gl.run(flow, (np.zeros((1, 2)),), [40.0], observables=["loss", Counted()], stop=stop)
        jax.effects_barrier()
        return made

    monkeypatch.setattr(driving, "way", lambda *known: "fully")
    whole, once = ran(), len(ASKED)
    monkeypatch.setattr(driving, "ATTEMPTS", 3)
    monkeypatch.setattr(driving.time, "perf_counter", iter(np.arange(0.0, 1e4, 0.5)).__next__)  # 3 in every call
    cut = ran()
    # One that stopped between records is looked at by a call more.
    assert len(ASKED) == once == 2
    assert int(cut["step"][-1]) == (steps or 40)
    assert cut.result == whole.result
    for name in ("loss", "final_weights", "counted"):
        np.testing.assert_array_equal(cut[name], whole[name])


class Counted(gl.observables.Observable):
    """1, and a mark that it was asked for."""

    name: str = eqx.field(static=True, default="counted")

    def __call__(self, problem: Any, weights: Any, y: Any, t: Any) -> Any:
        jax.debug.callback(lambda: ASKED.append(1))
        return jnp.ones(())


ASKED: list[int] = []


@pytest.mark.parametrize("steps", [None, 23])
def test_iterations_are_looked_at_where_a_record_is_and_not_between(
    monkeypatch: pytest.MonkeyPatch, steps: int | None
) -> None:
    problem = gl.Problem(gl.Dense((2, 1)), gl.Square("mean"), gl.Data(np.eye(2), np.ones((2, 1))))
    flow, stop = gl.GradientDescent(problem, 0.1), gl.Stop(steps=steps)

    def ran() -> Any:
        ASKED.clear()
        made = gl.run(flow, (np.zeros((1, 2)),), [40.0], observables=["loss", Counted()], stop=stop)
        jax.effects_barrier()
        return made

    monkeypatch.setattr(driving, "way", lambda *known: "fully")
    whole, once = ran(), len(ASKED)
    monkeypatch.setattr(driving, "ATTEMPTS", 3)
    monkeypatch.setattr(driving.time, "perf_counter", iter(np.arange(0.0, 1e4, 0.5)).__next__)  # 3 in every call
    cut = ran()
    # One that stopped between records is looked at by a call more.
    assert len(ASKED) == once == 2
    assert int(cut["step"][-1]) == (steps or 40)
    assert cut.result == whole.result
    for name in ("loss", "final_weights", "counted"):
        np.testing.assert_array_equal(cut[name], whole[name])


class Counted(gl.observables.Observable):
    """1, and a mark that it was asked for."""

    name: str = eqx.field(static=True, default="counted")

    def __call__(self, problem: Any, weights: Any, y: Any, t: Any) -> Any:
        jax.debug.callback(lambda: ASKED.append(1))
        return jnp.ones(())


ASKED: list[int] = []


@pytest.mark.parametrize("steps", [None, 23])
def test_iterations_are_looked_at_where_a_record_is_and_not_between(
    monkeypatch: pytest.MonkeyPatch, steps: int | None
) -> None:
    problem = gl.Problem(gl.Dense((2, 1)), gl.Square("mean"), gl.Data(np.eye(2), np.ones((2, 1))))
    flow, stop = gl.GradientDescent(problem, 0.1), gl.Stop(steps=steps)

    def ran() -> Any:
        ASKED.clear()
        made = gl.run(flow, (np.zeros((1, 2)),), [40.0], observables=["loss", Counted()], stop=stop)
        jax.effects_barrier()
        return made

    monkeypatch.setattr(driving, "way", lambda *known: "fully")
    whole, once = ran(), len(ASKED)
    monkeypatch.setattr(driving, "ATTEMPTS", 3)
    monkeypatch.setattr(driving.time, "perf_counter", iter(np.arange(0.0, 1e4, 0.5)).__next__)  # 3 in every call
    cut = ran()
    # One that stopped between records is looked at by a call more.
    assert len(ASKED) == once == 2
    assert int(cut["step"][-1]) == (steps or 40)
    assert cut.result == whole.result
    for name in ("loss", "final_weights", "counted"):
        np.testing.assert_array_equal(cut[name], whole[name])


class Counted(gl.observables.Observable):
    """1, and a mark that it was asked for."""

    name: str = eqx.field(static=True, default="counted")

    def __call__(self, problem: Any, weights: Any, y: Any, t: Any) -> Any:
        jax.debug.callback(lambda: ASKED.append(1))
        return jnp.ones(())


ASKED: list[int] = []


@pytest.mark.parametrize("steps", [None, 23])
def test_iterations_are_looked_at_where_a_record_is_and_not_between(
    monkeypatch: pytest.MonkeyPatch, steps: int | None
) -> None:
    problem = gl.Problem(gl.Dense((2, 1)), gl.Square("mean"), gl.Data(np.eye(2), np.ones((2, 1))))
    flow, stop = gl.GradientDescent(problem, 0.1), gl.Stop(steps=steps)

    def ran() -> Any:
        ASKED.clear()
        made = gl.run(flow, (np.zeros((1, 2)),), [40.0], observables=["loss", Counted()], stop=stop)
        jax.effects_barrier()
        return made

    monkeypatch.setattr(driving, "way", lambda *known: "fully")
    whole, once = ran(), len(ASKED)
    monkeypatch.setattr(driving, "ATTEMPTS", 3)
    monkeypatch.setattr(driving.time, "perf_counter", iter(np.arange(0.0, 1e4, 0.5)).__next__)  # 3 in every call
    cut = ran()
    # One that stopped between records is looked at by a call more.
    assert len(ASKED) == once == 2
    assert int(cut["step"][-1]) == (steps or 40)
    assert cut.result == whole.result
    for name in ("loss", "final_weights", "counted"):
        np.testing.assert_array_equal(cut[name], whole[name])
