"""Each misuse of a specification gives one sentence with its place and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from variations import BASE, built, refusal

from gradlab import specification
from gradlab.specification import SpecificationError


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("widths =", "widhts =", "in [network]: there is no key 'widhts'; did you mean 'widths'?"),
        ("[loss]", "[los]", "at the top: there is no key 'los'; did you mean 'loss'?"),
        (
            "[loss]",
            'activation = "relo"\n[loss]',
            "in [network]: activation = 'relo' is not known; did you mean 'relu'?",
        ),
        ('"dense"', '"dens"', "in [network]: kind = 'dens' is not known; did you mean 'dense'?"),
        (
            "[loss]",
            'init = { kind = "gaussian", scale = -0.1 }\n[loss]',
            "in [network.init]: scale is -0.1; it must be at least 0",
        ),
        (
            "[loss]",
            'init = { kind = "gaussian", scale = nan }\n[loss]',
            "in [network.init]: scale is nan; it must be a finite number",
        ),
        (
            "[loss]",
            'activation = { kind = "leaky_relu", slop = 0.1 }\n[loss]',
            "in [network.activation]: there is no key 'slop'; did you mean 'slope'?",
        ),
        ("[2, 8, 1]", '"2 8 1"', "in [network]: widths is '2 8 1'; it must be a list in square brackets"),
        ("[2, 8, 1]", "[2, 8.5, 1]", "in [network]: widths[1] is 8.5; it must be a whole number"),
        ("[2, 8, 1]", "[2, 0, 1]", "in [network]: widths[1] is 0; it must be at least 1"),
        ("[2, 8, 1]", "[2]", "in [network]: widths has length 1; it must be at least 2"),
        ("widths = [2, 8, 1]", "", "in [network]: 'widths' is missing"),
        ('kind = "dense"', "", "in [network]: 'kind' is missing; write kind = \"…\""),
        ("[records]\nuntil = 1.0", "", "the table [records] is missing"),
        ("until = 1.0", "until = inf", "in [records]: until is inf; it must be a finite number"),
        (
            "until = 1.0",
            'until = 1.0\n[flow]\nkind = "gradient descent"',
            "in [flow]: 'step' is missing",
        ),
        (
            "until = 1.0",
            'until = 1.0\n[flow]\nkind = "momentum"\nmomentum = 0.9\nstep = 1\nprecision = "float16"',
            "in [flow]: precision = 'float16' is not known; did you mean 'float64'?",
        ),
        (
            "until = 1.0",
            'until = 1.0\n[flow]\nkind = "momentum"\nmomentum = 1.5\nstep = 1',
            "in [flow]: momentum is 1.5; it must be less than 1",
        ),
        (
            "until = 1.0",
            'until = 1.0\n[flow]\nkind = "gradient descent"\nstep = -1',
            "in [flow]: step is -1; it must be greater than 0",
        ),
        (
            "until = 1.0",
            'until = 1.0\n[flow]\nkind = "gradient descent"\nstep = { kind = "powr law", step = 1 }',
            "in [flow.step]: kind = 'powr law' is not known; did you mean 'power law'?",
        ),
        (
            "[loss]\nkind",
            "[loss]\nreduction = 'total'\nkind",
            "in [loss]: reduction = 'total' is not known; it is one of: mean, sum",
        ),
        ("", "decay = [0.1, -1]", "at the top: decay[1] is -1; it must be at least 0"),
        ("", "seed = 4294967296", "at the top: seed is 4294967296; it must be less than 4294967296"),
        ("until = 1.0", f"until = 1{400 * '0'}", "in [records]: until is too large a number"),
        ("", "seed = true", "at the top: seed is true; it must be a whole number"),
    ],
)
def test_a_wrong_entry_is_named_with_its_place_and_remedy(old: str, new: str, message: str) -> None:
    assert refusal(old, new) == message


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("[2, 8, 1]", "[3, 8, 1]", ("in [network]", "2 inputs", "[2, 8, 1]")),
        ("[2, 8, 1]", "[2, 8, 3]", ("in [network]", "1 output", "[2, 8, 1]")),
        ('"exponential"', '"cross-entropy"', ("in [loss]", "'separable'", "±1", "exponential")),
        ('"exponential"', '"square"', ("in [loss]", "'separable'", "exponential")),
        ("", "decay = [0.1, 0.2, 0.3]", ("decay", "3", "2")),
        ("", 'observables = ["los"]', ("observables", "did you mean 'loss'?")),
        ("", 'observables = ["test_loss"]', ("observables", "test split")),
        (
            "until = 1.0",
            'until = 1.0\n[flow]\nkind = "sgd"\nstep = 0.1\nbatch = 11',
            ("in [flow]", "11", "10 examples"),
        ),
        (
            "until = 1.0",
            'until = 1.0\n[flow]\nkind = "adam"\nstep = 0.1\nbatch = 11',
            ("in [flow]", "11", "10 examples"),
        ),
        (
            "until = 1.0",
            'until = 1.0\n[flow]\nkind = "adam"\nstep = { kind = "loss-scaled", step = 1 }',
            ("in [flow]", "loss-scaled", "power law"),
        ),
        ("until = 1.0", 'until = 1.0\n[flow]\nkind = "adam"\nstep = 0.1\nb3 = 0.9', ("b3", "b1")),
        (
            "until = 1.0",
            'until = 1.0\n[flow]\nkind = "gradient descent"\nstep = 0.1\n[clock]\nkind = "log-loss"',
            ("in [clock]", "descent takes no clock"),
        ),
        (
            "until = 1.0",
            'until = 1.0\n[solver]\nmethod = "dopri9"',
            ("in [solver]", "did you mean 'dopri8'?"),
        ),
        (
            "until = 1.0",
            "until = 1.0\n[solver]\ntolerance = 1e-9\nstep = 1e-3",
            ("in [solver]", "not both"),
        ),
        ("until = 1.0", "until = 1.0\nfirst = 2", ("in [records]", "log")),
        (
            "until = 1.0",
            'until = 1.0\nspacing = "log"\nfirst = 2',
            ("in [records]", "less than until"),
        ),
        (
            "[loss]",
            'init = { kind = "factorised", matrix = [[1.0, 2.0], [3.0]] }\n[loss]',
            ("matrix", "length"),
        ),
        (
            "until = 1.0",
            'until = 1.0\n[flow]\nkind = "end-to-end"\ndepth = 2',
            ("in [flow]", "depth-one"),
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(old: str, new: str, parts: tuple[str, ...]) -> None:
    message = refusal(old, new)
    assert all(part in message for part in parts), message


SQUARE = BASE.replace('"exponential"', '"square"').replace('"separable"', '"linear regression"')


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (SQUARE + '[clock]\nkind = "log-loss"\n', ("in [clock]", "Square")),
        (SQUARE + "[stop]\nlog_loss = -10.0\n", ("in [stop]", "Square", "loss")),
        (
            SQUARE + '[flow]\nkind = "gradient descent"\nstep = { kind = "loss-scaled", step = 1 }\n',
            ("in [flow]",),
        ),
        (
            BASE.replace('"separable"\nexamples = 10\ninputs = 2', '"digits"\nclasses = [3, 3]'),
            ("in [data]", "different digits"),
        ),
    ],
)
def test_what_the_parts_refuse_is_said_with_its_place(text: str, parts: tuple[str, ...]) -> None:
    with pytest.raises(SpecificationError) as caught:
        built(text=text)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_a_kind_that_is_right_elsewhere_does_not_hide_a_misspelt_key() -> None:
    message = refusal("widths =", 'activaton = "tanh"\nwidhts =')
    assert "'activaton'; did you mean 'activation'?" in message


def test_a_missing_specification_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SpecificationError, match="there is no specification file"):
        specification.read(tmp_path / "none.toml")


def test_a_huge_specification_is_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "huge.toml").write_text("#" * (1 << 18) + "\n")
    with pytest.raises(SpecificationError, match="at most 262144 bytes"):
        specification.read(tmp_path / "huge.toml")


@pytest.mark.parametrize("content", [b"a = [1", b"\xff\xfe", b"a = " + b"[" * 20_000])
def test_what_is_no_toml_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.toml").write_bytes(content)
    with pytest.raises(SpecificationError, match=r"bad\.toml"):
        specification.read(tmp_path / "bad.toml")
