"""The proofs of docs/proofs: each decides its refutation alone, in seconds, and fails where there is none."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROOFS = {path.stem: path for path in sorted((ROOT / "docs" / "proofs").glob("*.py"))}
SECONDS = 5.0
KINDS = ("false", "missing hypothesis", "misprint")

# What takes the counterexample away: the text of a proof, and what it becomes. In most cases the printed
# statement is true of the altered example.
SPOILED = {
    "chitour.critical-values": ("F = sum(", "F = fmpq(1, 2) * sum("),
    "chitour.gradient": ("field((3 - w2 * w1) ** 2,", "field((3 - w2 * w1) ** 2 / 2,"),
    "chitour.landscape": ("F = (3 - w2 * w1) ** 2\n", "F = (0 - w2 * w1) ** 2\n"),
    "chitour.reduction": ("X, Y = Q(2), Q(2)", "X, Y = Q(1), Q(2)"),
    "cohen.critical-point-route": ("TOP, LOW = (1, 2, 0)", "TOP, LOW = (1, 0, 0)"),
    "cohen.flow-global": ("Q(-1) if w <= 1 else -1 / w**2", "2 * (w - 3)"),
    "cohen.gd-rate": ("target, w1, w2 = Q(16), Q(3), Q(3)", "target, w1, w2 = Q(1), Q(3, 4), Q(3, 4)"),
    "memo112.bounded-output": ("(Q(3, 5), Q(4, 5)), (Q(1, 2),) * 4", "(Q(1), Q(0)), (Q(1, 2),) * 4"),
    "memo112.lemma1": ("rates(W2 * W1**2)", "rates(W2 * W1)"),
    "memo112.lowest-norm": ("(1, 1, -1)", "(1, 1, 1)"),
    "memo112.resnet": ("Q(-2), Q(1), Q(-1)", "Q(2), Q(1), Q(1)"),
    "memo112.sgd-fluctuation": (
        "f, y = (Q(1), Q(-1)), (Q(1), Q(-1))",
        "f, y = (Q(1), Q(-1)), (Q(1), Q(-1, 2))",
    ),
    "memo112.small-norm-bias": ("(Q(3), Q(1))), (Q(1), Q(1))", "(Q(0), Q(1))), (Q(1), Q(1))"),
    "memo112.transient-length": ("arb(100) **", "arb(10**9) **"),
    "memo90.conjugacy-classes": ("\nA = ((0, 1), (0, 0))\n", "\nA = ((0, 0), (0, 0))\n"),
    "memo90.cross-entropy": ("W = [-v for v in star]", "W = [+v for v in star]"),
    "memo90.cross-layer": ("int(abs(i - j) == 3)", "(i + 1) * (j + 1) * int(abs(i - j) == 3)"),
    "memo90.fig6-reading": ("node, test = Q(1, 2), Q(1)", "node, test = Q(1, 2), Q(1, 2)"),
    "memo90.gauss-newton": ("w2 * w1, (1, 1)", "w2 * w1, (1, 2)"),
    "memo90.hinge-margin": ("a, w = Q(0), Q(0)", "a, w = Q(1), Q(1)"),
    "memo90.kernel-conditioning": ("targets = (Q(1), Q(0))", "targets = (Q(1), Q(2))"),
    "memo90.lambda-limit": ("x2 = fmpq(1)", "x2 = fmpq(0)"),
    "memo90.lemma1": ("v = (0, 1, 0, 1)", "v = (1, 0, 1, 0)"),
    "memo90.lemma2": ("+ a2**2 +", "+ 2 * a2**2 +"),
    "memo90.linearises-to-deep-linear": ("(-Q(3, 5), -Q(4, 5)))", "(Q(3, 5), Q(4, 5)))"),
    "memo90.min-norm-is-max-margin": ("x1, x2 = (1, 0), (2, 1)", "x1, x2 = (1, 0), (0, 1)"),
    "memo90.non-separable": ("((-1, 0), (2, 1), (2, -1))", "((-1, 0), (2, 0), (2, 0))"),
    "memo90.one-layer-nonlinear": ("v1**2 + 2 * v2**2, (1, 1)", "v1 + 2 * v2, (1, 1)"),
    "memo90.penalty-hessian": (
        "f, V = a1 * b1 + a2 * b2, (1, 0, 1, 0)",
        "f, V = a1 * b1 - a2 * b2, (1, 0, 1, 0)",
    ),
    "memo90.proposition5": ("X = ((4, 1), (-4, 1))", "X = ((1, 1), (-1, 1))"),
    "memo90.proposition6": ("v = (0, 0, 1, -1, 0, 0)", "v = (0, 0, 1, 1, 0, 0)"),
    "memo90.regularised-exp-form": ("x = (1, 2)", "x = (1, 1)"),
    "memo90.regularised-square": ("4 * (b1**2 + b2**2)", "4 * (b1**2 + 2 * b2**2)"),
    "memo90.separated-goes-to-zero-loss": ("c, copies = Q(1, 2), 3", "c, copies = Q(1, 2), 1"),
    "memo90.slower-with-lambda": ("decays = (fmpq(1, 2), fmpq(2, 5))", "decays = (fmpq(1, 5), fmpq(1, 10))"),
    "memo90.span-per-layer": ("a, b = (1, 0), (1, 1)", "a, b = (1, 1), (1, 1)"),
    "memo90.square-equilibrium-diverges": ("x, y = 1, 1", "x, y = 1, 10**40"),
    "memo90.theorem3": ("X = ((4, 1), (-4, 1))", "X = ((1, 1), (-1, 1))"),
    "memo90.time-is-inverse-lambda": ("beta = (Q(3, 2), Q(9, 10))", "beta = (Q(1, 2), Q(9, 10))"),
    "memo90.virtual-data": ("f, y = b * a, 2", "f, y = b + a, 3"),
    "memo90.washed-out": ("start = [((Q(1), Q(-1)), Q(1))", "start = [((Q(1), Q(1)), Q(1))"),
    "notes.deep-hessian": ("f = w2 * w1**2", "f = w2"),
    "notes.deep-linear": ("three([Q(1)] * 3) ==", "three([Q(0)] * 3) =="),
    "notes.min-norm": ("[[a * b for b in x] for a in x]", "[[a * b + (a == b) for b in x] for a in x]"),
    "notes.no-equilibrium": ("gradient(Q(0), Q(0)) == (0, 0)", "gradient(Q(0), Q(0)) != (0, 0)"),
    "notes.normalised": ("(Q(3), Q(4)), (Q(1), Q(0)), Q(5)", "(Q(3, 5), Q(4, 5)), (Q(1), Q(0)), Q(1)"),
    "notes.regularised-exp": ("(arb(10), 7)", "(arb(1), 1)"),
}


def run(path: Path) -> subprocess.CompletedProcess[str]:
    """The file by itself: isolated, neither the working directory nor the environment is seen."""
    command = [sys.executable, "-I", str(path)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=path.parent
    )


def modules(path: Path) -> set[str]:
    """Top names of all that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("a relative import" if node.level else str(node.module).partition(".")[0])
    return names


def test_every_proof_can_be_spoiled() -> None:
    assert set(PROOFS) == set(SPOILED)


@pytest.mark.parametrize("name", PROOFS)
def test_a_proof_decides_its_refutation(name: str) -> None:
    done = run(PROOFS[name])
    assert done.returncode == 0, done.stderr
    assert 2 <= len(done.stdout.splitlines()) <= 3


@pytest.mark.parametrize("name", PROOFS)
def test_a_proof_needs_nothing_but_exact_arithmetic(name: str) -> None:
    assert modules(PROOFS[name]) <= {"fractions", "itertools", "flint"}
    assert "__import__" not in PROOFS[name].read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PROOFS)
def test_a_proof_is_short_and_says_what_it_shows(name: str) -> None:
    text = PROOFS[name].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring is not None
    claim, _, kind = docstring.splitlines()[0].partition(": ")
    assert claim == name
    assert kind.startswith(KINDS)
    for part in ("Statement (", "Counterexample", "Why it decides. ", "What saves it. "):
        assert f"\n\n{part}" in docstring


@pytest.mark.parametrize("name", PROOFS)
def test_a_proof_belongs_to_a_claim_that_is_studied(name: str) -> None:
    source, _, claim = name.partition(".")
    assert (ROOT / "src" / "gradlab" / "claims" / source / f"{claim.replace('-', '_')}.py").is_file()


@pytest.mark.parametrize("name", PROOFS)
def test_a_proof_without_its_counterexample_fails(name: str, tmp_path: Path) -> None:
    text = PROOFS[name].read_text(encoding="utf-8")
    counterexample, other = SPOILED[name]
    assert text.count(counterexample) == 1
    altered = tmp_path / "altered.py"
    altered.write_text(text.replace(counterexample, other), encoding="utf-8")
    done = run(altered)
    assert done.returncode != 0
    assert "AssertionError" in done.stderr
