"""The command line: fast to answer, one sentence for misuse, JSON alone on standard output, runs that resume."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from command_line import invoke, refused
from gradlab.claims import entries
from gradlab.cli import errors, listing, screen

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


def test_a_folder_that_cannot_be_written_is_one_sentence() -> None:
    Path("file").write_text("")
    claim("small", 0.5)
    assert "file" in refused("verify", "small.py", "--out", "file")


# --- claims ------------------------------------------------------------------------------------------


def test_the_list_is_an_array_of_claims_and_figures_and_none_is_open() -> None:
    listed = json.loads(invoke("list", "--json").stdout)
    assert [one["id"] for one in listed] == [one.id for one in entries.entries()]
    assert {one["status"] for one in listed} == {"built"}
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
        "verify",
        claim("small", 0.5, 0.1),
        claim("large", 0.5, 1.5),
        claim("edge", 1.1),
        "--json",
        "--jobs",
        "1",
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


def test_the_data_sets_are_listed() -> None:
    text = invoke("data", "list").stdout
    for name in ("digits", "breast_cancer", "diabetes", "mnist", "cifar10", "gas_sensor"):
        assert f"\n{name} " in text
