"""The command line: fast to answer, one sentence for misuse, JSON alone on standard output, runs that resume."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from gradlab.claims import entries
from gradlab.cli import app, errors, listing, screen
from gradlab.store import run as store
from gradlab.store.run import Run

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

CLAIMS = """
import xarray as xr
from gradlab.claims import Case, Claim, Look, Number, at_most, study

class Seen(Look):
    @at_most(1.0)
    def size(self):
        'The size.\\n\\nBy definition.'
        if self.problem < 0:
            raise ArithmeticError("the study is at fault [/w]")
        return Number(float(self.problem), 0.25)

def cases(key):
    for number in ({numbers}):
        yield Case(f"case {{number}}", number, xr.Dataset())

STUDY = study(
    Claim("mine.{name}", "Sizes are at most [/w] one.", "x \\\\le 1", "nowhere", hypotheses=("sizes are numbers",)),
    Seen,
    cases,
)
"""


def invoke(*arguments: str | Path, code: int = 0) -> Any:
    """Run a command in this process; a bug's exception is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.stdout + result.stderr
    return result


def refused(*arguments: str | Path) -> str:
    """The one message of a misuse: exit code 2, nothing on standard output, no traceback."""
    result = invoke(*arguments, code=2)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return str(result.stderr)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def claim(name: str, *numbers: float) -> Path:
    path = Path(f"{name}.py")
    path.write_text(CLAIMS.format(name=name, numbers="".join(f"{number}, " for number in numbers)))
    return path


# --- start -------------------------------------------------------------------------------------------

HEAVY = ("jax", "numpy", "xarray", "matplotlib", "scipy", "equinox", "diffrax", "sklearn")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list"], ["verify", "--help"], ["verfy"]])
def test_answering_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom gradlab.cli import main\n"
        f"sys.argv = ['gradlab', *{arguments}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\nMODULES', *sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    modules = out.split("MODULES ")[1].split()
    assert [name for name in HEAVY if name in modules] == []
    if arguments[0].startswith("-"):
        assert "pydantic" not in modules  # typer takes it for the options of a command
        assert len(modules) < 400


def test_the_installed_command_prints_its_version() -> None:
    command = Path(sys.executable).parent / "gradlab"
    out = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    assert out.startswith("gradlab 0.")


def test_every_command_is_listed_in_the_help() -> None:
    text = invoke("--help").stdout
    for command in ("list", "verify", "run", "resume", "equilibrium", "report", "data"):
        assert f"\n  {command} " in text


# --- misuse ------------------------------------------------------------------------------------------


def test_our_own_errors_are_messages_and_others_are_bugs() -> None:
    @errors.plainly
    def bug() -> None:
        np.zeros(3).reshape(2)

    with pytest.raises(ValueError, match="reshape"):
        bug()

    def own() -> None:
        from gradlab.problem.activations import activation

        activation("relo")

    with pytest.raises(errors.typer.Exit) as caught:
        errors.plainly(own)()
    assert caught.value.exit_code == errors.MISUSE


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["list", "--source", "memo91"], "did you mean 'memo90'?"),
        (["verify", "notes.srebo"], "did you mean 'notes.srebro'?"),
        (["verify", "--source", "memo91"], "did you mean 'memo90'?"),
        (["verify", "[/w].py"], "[/w].py"),
        (["verify", "notes.srebro", "--source", "notes"], "not both"),
        (["verify", "--expect", "none.json"], "there is no file none.json"),
        (["run", "none.toml"], "no specification file none.toml"),
        (["run", str(EXAMPLES / "own" / "network.toml")], "add --code FILE.py"),
        (["run", str(EXAMPLES / "own" / "network.toml"), "--code", "none.py"], "there is no file none.py"),
        (["resume", "none"], "none"),
        (["report", "none"], "none"),
        (["data", "fetch", "mnits"], "did you mean 'mnist'?"),
    ],
)
def test_misuse_is_one_sentence(arguments: list[str], part: str) -> None:
    assert part in refused(*arguments)


def test_a_missing_real_data_file_fails_and_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADLAB_DATA", str(tmp_path))
    assert "train-images-idx3-ubyte.gz" in refused("data", "fetch", "mnist")
    text = (EXAMPLES / "digits.toml").read_text().replace('kind = "digits"', 'kind = "mnist"')
    Path("spec.toml").write_text(text.replace("test_fraction = 0.3\n", ""))
    assert "train-images-idx3-ubyte.gz" in refused("run", "spec.toml")
    assert not Path("runs").exists()


def test_a_faulty_specification_leaves_nothing_behind() -> None:
    Path("spec.toml").write_text(SPEC.replace("widths", "widhts"))
    assert "spec.toml: in [network]: there is no key 'widhts'; did you mean 'widths'?" in refused(
        "run", "spec.toml"
    )
    assert not Path("runs").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence() -> None:
    Path("file").write_text("")
    claim("small", 0.5)
    assert "file" in refused("verify", "small.py", "--out", "file")


# --- claims ------------------------------------------------------------------------------------------


def test_the_list_is_an_array_of_claims_and_figures_built_and_open() -> None:
    listed = json.loads(invoke("list", "--json").stdout)
    assert [one["id"] for one in listed] == [one.id for one in entries.entries()]
    assert {one["status"] for one in listed} == {"built", "open"}
    assert {one["kind"] for one in listed} == {"claim", "figure"}
    assert all(one["statement"] and one["passage"] and one["sentences"] for one in listed)
    repaired = next(one for one in listed if one["id"] == "notes.min-norm")
    assert repaired["repair"]["kind"] == "inverse"
    only = json.loads(invoke("list", "--json", "--source", "notes").stdout)
    assert {one["source"] for one in only} == {"notes"}


def test_a_piped_list_has_one_whole_line_a_claim() -> None:
    head, *lines = invoke("list", "--source", "cohen").stdout.splitlines()
    assert head.split() == ["claim", "status", "passage", "statement"]
    for line, one in zip(lines, entries.entries("cohen"), strict=True):
        assert line.split()[:2] == [one.id, entries.status(one)]
        assert line.endswith(one.statement)
        assert "\x1b" not in line


def test_at_a_terminal_open_claims_are_dim() -> None:
    shown = listing.table(entries.entries("cohen"))
    assert [row.style == "dim" for row in shown.rows] == [
        not entries.built(one) for one in entries.entries("cohen")
    ]


FIELDS = {"id", "source", "statement", "verdict", "number", "tolerance", "hypotheses", "parts", "seconds"}
FIELDS |= {"print", "repair", "sentences", "asked", "headline", "seal", "seed"}


def test_json_stands_alone_on_standard_output_and_verdicts_do_not_change_the_exit_code() -> None:
    result = invoke(
        "verify", claim("small", 0.5, 0.1), claim("large", 0.5, 1.5), claim("edge", 1.1), "--json"
    )
    records = json.loads(result.stdout, parse_constant=pytest.fail)
    assert [one["verdict"] for one in records] == ["supported", "refuted", "inconclusive"]
    assert all(set(one) >= FIELDS for one in records)
    assert [one["number"] for one in records] == [0.5, 1.5, 1.1]
    assert "mine.large" in result.stderr
    assert str(Path("report/index.html").resolve()) in result.stderr.replace("\n", "")
    assert "refuted" in Path("report/index.html").read_text()


def test_without_json_the_table_is_on_standard_output() -> None:
    result = invoke("verify", claim("large", 1.5), "--out", "elsewhere")
    assert "mine.large" in result.stdout
    assert "1.5 ± 0.2 ≤ 1" in result.stdout
    assert Path("elsewhere/index.html").is_file()


def test_a_study_that_raises_is_an_error_and_the_others_are_judged() -> None:
    result = invoke("verify", claim("faulty", -1), claim("small", 0.5), "--json", code=1)
    assert [one["verdict"] for one in json.loads(result.stdout)] == ["error", "supported"]
    assert "ArithmeticError: the study is at fault [/w]" in result.stderr


def test_a_number_that_is_not_finite_is_null() -> None:
    text = claim("odd", 0.5).read_text().replace("float(self.problem)", "float('nan')")
    Path("odd.py").write_text(text)
    (record,) = json.loads(invoke("verify", "odd.py", "--json").stdout, parse_constant=pytest.fail)
    assert record["verdict"] == "inconclusive"
    assert record["number"] is None


def test_what_was_kept_is_not_run_again() -> None:
    ids = ("memo90.fig3", "cohen.preconditioner")
    first = json.loads(invoke("verify", ids[0], "--json", "--out", "kept").stdout)
    again = invoke("verify", *ids, "--json", "--out", "kept", "--resume")
    assert "1 of 2 claims are taken from kept" in again.stderr
    both = json.loads(again.stdout)
    assert [record["id"] for record in both] == list(ids)
    assert both[0] == first[0]
    other = invoke("verify", ids[0], "--json", "--out", "kept", "--resume", "--seed", "1")
    assert "taken from" not in other.stderr


def test_a_claim_of_ones_own_is_always_run_again() -> None:
    claim("small", 0.5)
    invoke("verify", "small.py", "--out", "kept")
    assert "taken from" not in invoke("verify", "small.py", "--out", "kept", "--resume").stderr


def test_expected_verdicts_are_compared() -> None:
    claim("small", 0.5)
    stored = invoke("verify", "small.py", "--json").stdout
    Path("same.json").write_text(stored)
    Path("other.json").write_text(stored.replace('"supported"', '"refuted"'))
    Path("none.json").write_text("[]")
    assert invoke("verify", "small.py", "--expect", "same.json")
    message = invoke("verify", "small.py", "--expect", "other.json", code=1).stderr
    assert "mine.small is supported; expected was refuted" in message
    assert "not among the expected" in invoke("verify", "small.py", "--expect", "none.json", code=1).stderr


@pytest.mark.parametrize("content", ["", "{}", '[{"id": 3}]', "[" * 100_000, "\xff"])
def test_expectations_that_are_no_verdicts_are_refused(content: str) -> None:
    Path("bad.json").write_bytes(content.encode("latin-1"))
    assert "store what --json prints" in refused("verify", claim("small", 0.5), "--expect", "bad.json")


def test_a_verification_is_drawn_again_from_what_it_stored() -> None:
    invoke("verify", claim("large", 1.5))
    Path("report/index.html").unlink()
    invoke("report", "report")
    assert "mine.large" in Path("report/index.html").read_text()


def test_ctrl_c_says_where_the_finished_claims_are() -> None:
    text = claim("second", 0.5).read_text().replace("raise ArithmeticError", "raise KeyboardInterrupt")
    Path("second.py").write_text(text.replace("if self.problem < 0", "if True"))
    result = invoke("verify", claim("first", 0.5), "second.py", "--jobs", "1", code=errors.INTERRUPTED)
    assert "1 of 2 claims are in report/index.html" in result.stderr
    assert "mine.second" in Path("report/index.html").read_text()


def test_the_example_of_ones_own_claim_is_supported() -> None:
    (record,) = json.loads(invoke("verify", EXAMPLES / "my_claim.py", "--json").stdout)
    assert (record["id"], record["verdict"]) == ("mine.whitened", "supported")


def test_names_with_brackets_are_shown_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with screen.Bar("[/w]", 2) as bar:
        bar.update("[/w] running", 1.0, 2.0)
        bar.advance()
    text = capsys.readouterr().err
    assert "[/w] running" in text
    assert "1/2" in text


# --- runs --------------------------------------------------------------------------------------------

SPEC = """
title = "A small run [/w]"
observables = ["loss", "layer_norms"]
[network]
kind = "dense"
widths = [2, 3, 1]
activation = "tanh"
[loss]
kind = "square"
[data]
kind = "csv"
path = "points.csv"
targets = ["y"]
[flow]
kind = "sgd"
step = 0.05
batch = 2
[records]
until = 64
count = 33
keep = "all"
"""
POINTS = "a,b,y\n1,0,1\n0,1,-1\n1,1,0.5\n-1,2,0.25\n"


@pytest.fixture
def spec() -> Path:
    Path("points.csv").write_text(POINTS)
    Path("spec.toml").write_text(SPEC)
    return Path("spec.toml")


def directory(root: str = "runs") -> Path:
    (found,) = [path for path in Path(root).iterdir() if not path.name.startswith(".")]
    return found


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def interrupted(*arguments: str | Path, after: int) -> str:
    """Give a command and press Ctrl-C after so many segments; what was said."""
    append = Run.append

    def stop(self: Run, *given: Any, **options: Any) -> str:
        if self.segments == after:
            raise KeyboardInterrupt
        return append(self, *given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "append", stop)
        return str(invoke(*arguments, code=errors.INTERRUPTED).stderr)


@pytest.fixture
def cut_short(spec: Path) -> Path:
    """A run that Ctrl-C ended after its third segment."""
    message = interrupted("run", spec, after=3)
    assert f"3 segments are kept; go on with: gradlab resume {directory()}" in message
    return directory()


def test_a_run_makes_a_directory_with_figures_and_a_page(spec: Path) -> None:
    out = invoke("run", spec).stdout
    assert out == f"reached the last record: {(directory() / 'page.html').resolve()}\n"
    names = set(contents(directory()))
    assert names >= {"page.html", "loss.svg", "layer_norms.svg", "specification.json", "segment-00000.nc"}
    page = (directory() / "page.html").read_text()
    assert "A small run [/w]" in page
    with Run.open(directory()) as kept:
        assert kept.finished == "reached the last record"
        assert kept.dataset().sizes["record"] == 33


def test_a_run_that_failed_says_why_and_leaves_with_another_exit_code(spec: Path) -> None:
    spec.write_text(SPEC.replace("step = 0.05", "step = 1e9").replace('"tanh"', '"identity"'))
    said = invoke("run", spec, code=errors.FAILED).stdout
    assert said.startswith("failed: the field is not finite at t = ")
    assert "take a smaller step" in said
    assert "Nothing was computed" in invoke("run", spec, code=errors.FAILED).stdout


def test_a_run_that_is_piped_says_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    line = screen.still("digits, t = 3.2", 12.4, 40.0, 120.0)
    assert line == "digits, t = 3.2: 12.4 of 40 after 2 min, about 4 min more"
    with screen.Bar(every=0.0) as bar:
        bar.update("mine, t = 1", 1.0, 2.0)
        while "mine, t = 1: 1.0 of 2 after 0 min" not in capsys.readouterr().err:
            pass


def test_repeating_a_run_says_so_and_computes_nothing(spec: Path) -> None:
    invoke("run", spec)
    before = contents(directory())
    Path("spec.toml").write_text(SPEC.replace("[/w]", "under another name") + "\n[stop]\n")
    assert "Nothing was computed" in invoke("run", spec).stdout
    assert "Nothing was computed" in invoke("resume", directory()).stdout
    assert contents(directory()) == before


def test_other_data_are_another_run(spec: Path) -> None:
    invoke("run", spec)
    Path("points.csv").write_text(POINTS.replace("0.25", "0.26"))
    invoke("run", spec)
    assert len(list(Path("runs").iterdir())) == 2


@pytest.mark.parametrize("command", ["resume", "run"])
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(cut_short: Path, command: str) -> None:
    if command == "resume":
        Path("points.csv").unlink()
    invoke("resume", cut_short) if command == "resume" else invoke("run", "spec.toml")
    Path("points.csv").write_text(POINTS)
    invoke("run", "spec.toml", "--out", "whole")
    with Run.open(cut_short) as resumed, Run.open(directory("whole")) as whole:
        xr.testing.assert_identical(resumed.dataset(), whole.dataset())
        assert resumed.finished == whole.finished
        for index in range(whole.segments):
            name = f"segment-{index:05d}.nc"
            assert resumed.read(name) == whole.read(name)
        assert resumed.read("loss.svg") == whole.read("loss.svg")


def elsewhere(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    here = store.environment()
    monkeypatch.setattr(store, "environment", lambda: {**here, **changes})


@pytest.mark.parametrize("changes", [{"cores": 64}, {"instruction_set": "abacus"}])
def test_resuming_elsewhere_is_refused_and_a_child_run_goes_on(
    cut_short: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    elsewhere(monkeypatch, **changes)
    before = contents(cut_short)
    message = refused("resume", cut_short)
    assert str(*changes.values()) in message
    assert f"gradlab resume {cut_short} --rebind" in message
    invoke("resume", cut_short, "--rebind")
    assert contents(cut_short) == before
    (child,) = [path for path in Path("runs").iterdir() if path.name != cut_short.name]
    with Run.open(child) as kept, Run.open(cut_short) as parent:
        assert kept.parent is not None
        assert kept.parent["identity"] == parent.identity.digest
        assert kept.finished == "reached the last record"
        first = kept.dataset().isel(record=slice(parent.dataset().sizes["record"]))
        assert np.array_equal(first["weights"], parent.dataset()["weights"])


def test_rebinding_where_nothing_differs_makes_no_child(cut_short: Path) -> None:
    assert "no child is needed" in invoke("resume", cut_short, "--rebind").stderr
    assert len(list(Path("runs").iterdir())) == 1


def test_a_damaged_run_directory_names_the_file(cut_short: Path) -> None:
    data = bytearray((cut_short / "segment-00001.nc").read_bytes())
    data[len(data) // 2] ^= 1
    (cut_short / "segment-00001.nc").write_bytes(data)
    assert "segment-00001.nc" in refused("resume", cut_short)
    assert "segment-00001.nc" in refused("report", cut_short)


def test_a_run_cut_short_is_drawn_as_far_as_it_came(cut_short: Path) -> None:
    assert invoke("report", cut_short).stdout.strip() == str(cut_short / "page.html")
    assert "cut short" in (cut_short / "page.html").read_text()
    invoke("resume", cut_short)
    assert "cut short" not in (cut_short / "page.html").read_text()


def test_a_run_of_ones_own_code_resumes_with_that_code_only() -> None:
    folder = EXAMPLES / "own"
    text = (folder / "network.toml").read_text()
    Path("network.toml").write_text(text.replace("until = 20.0\ncount = 41", "until = 0.2\ncount = 3"))
    own = Path("network.py")
    own.write_text((folder / "network.py").read_text())
    interrupted("run", "network.toml", "--code", own, after=1)
    assert "--code" in refused("resume", directory())
    changed = own.read_text().replace("jnp.cos", "jnp.tanh")
    Path("changed.py").write_text(changed)
    assert "own code differs" in refused("resume", directory(), "--code", "changed.py")
    invoke("resume", directory(), "--code", own)
    with Run.open(directory()) as kept:
        assert kept.finished is not None


@pytest.mark.parametrize("name", ["exponential", "digits", "deep_linear"])
def test_the_examples_run_as_they_stand(name: str) -> None:
    invoke("run", EXAMPLES / f"{name}.toml")
    with Run.open(directory()) as kept:
        last = kept.dataset().isel(record=-1)
        assert kept.finished is not None
    if name == "exponential":
        assert kept.finished == "stopped: log t reached"
        assert 0.499 < float(last["normalised_margin"]) < 0.5
    elif name == "digits":
        assert float(last["error"]) < 0.02
    else:
        assert kept.finished == "stopped: gradient norm reached"


def test_the_data_sets_are_listed() -> None:
    text = invoke("data", "list").stdout
    for name in ("digits", "breast_cancer", "diabetes", "mnist", "cifar10", "gas_sensor"):
        assert f"\n{name} " in text
