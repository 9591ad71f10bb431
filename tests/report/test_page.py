"""The page: everything is said, nothing is let in, nothing is asked of the network."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from pydantic import BaseModel

from gradlab import figures
from gradlab.claims.claim import Claim, Repair, Sentence
from gradlab.claims.keeping import Result
from gradlab.claims.looks import Look
from gradlab.claims.measured import at_least, at_most
from gradlab.claims.studies import Study
from gradlab.claims.studies import study as made
from gradlab.report import drawing, mathematics, numbers, page
from gradlab.store.disk import Disk

EVIL = '<script>alert("1")</script> & <img src=x onerror=alert(1)>'
SOURCES = {"mine": "Somebody, “A source”"}
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Seen(Look):
    @at_most(1e-9)
    def distance(self) -> float:
        """Distance to the limit.

        Error analysis.
        """
        return 0.0

    @at_least(1e-3, role="hypothesis", exact=True)
    def rank(self) -> float:
        """Smallest singular value.

        Rounding.
        """
        return 1.0


def study(name: str, draw: Any = None, **claim: Any) -> Study:
    described = {
        "statement": f"The statement of {name}.",
        "formula": r"\dot W = -\nabla L",
        "passage": "eq. (1)",
    }
    return made(Claim(id=name, **{**described, **claim}), Seen, lambda key: (), figure=draw)


def outcome(own: Study, **given: Any) -> Result:
    rest = {"verdict": None, "dataset": None, "error": None, "seconds": 1.25, "seed": 7} | given
    return Result(own, own.claim, own.measures, own.settings, **rest)


def result(name: str, worst: float = 1e-11, rank: float = 1.0, **options: Any) -> Result:
    numbers_ = np.array([1e-12, worst, 0.0])
    dataset = xr.Dataset(
        {
            "distance": ("case", numbers_),
            "distance_error": ("case", np.array([1e-14, 2e-12, 1e-14])),
            "rank": ("case", np.full(3, rank)),
        },
        coords={"case": ["N < d", "repeated points", "the zero problem"]},
    )
    own = study(name, **options)
    return outcome(own, verdict=own.judge(dataset), dataset=dataset)


def failed(name: str, error: str | None, **options: Any) -> Result:
    return outcome(study(name, **options), error=error)


class Outline(HTMLParser):
    """Collects tags, ids, links and addresses; notices tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "xlink:href", "src"):
                (self.links if (value or "").startswith("#") else self.addresses).append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def every_kind() -> list[Result]:
    return [
        result("mine.supported"),
        result("mine.refuted", worst=3.0),
        result("mine.inconclusive", worst=np.nan),
        result("mine.unmet", rank=-1.0),
        failed("mine.failed", "Traceback …\nValueError: no such thing"),
        result("mine.refuted-corrected", corrects="mine.refuted"),
    ]


def test_a_page_is_well_formed_and_every_link_finds_its_place() -> None:
    outline = Outline(page.render(every_kind(), pending=[study("mine.later")], sources=SOURCES))
    assert len(outline.ids) == len(set(outline.ids))
    assert {link[1:] for link in outline.links} <= set(outline.ids)
    assert "claim-mine.refuted" in outline.ids


def test_a_page_asks_nothing_of_the_network_and_runs_nothing() -> None:
    text = page.render(every_kind(), sources=SOURCES)
    outline = Outline(text)
    assert not {"script", "link", "iframe", "img", "object", "form"} & set(outline.tags)
    assert outline.addresses == []
    assert outline.handlers == []
    style = text[text.index("<style>") : text.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style
    assert "default-src 'none'" in text


def test_every_verdict_is_counted_and_its_number_shown_with_error_and_tolerance() -> None:
    text = Outline(page.render(every_kind(), pending=["mine.later"], sources=SOURCES)).text
    for words in (
        "2 supported",
        "1 refuted",
        "1 inconclusive",
        "1 hypotheses not met",
        "1 error",
        "1 to come",
    ):
        assert words in text
    assert "(1.0 ± 0.2)·10−11" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "≤ 10−9" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "“repeated points” comes closest, a factor 100 inside the tolerance." in text
    assert "“repeated points” violates the relation by more than its error" in text
    assert "gave no finite number" in text
    assert "No case meets the hypotheses; “N < d” does not certainly meet this one" in text
    assert "Why this tolerance: Error analysis." in text
    assert "Somebody, “A source”" in text
    assert "Corrected by mine.refuted-corrected" in text


def test_the_page_says_each_sentence_its_print_and_its_repair() -> None:
    class Printed(Seen):
        @at_most(1e-9, sentence="two")
        def repaired(self) -> float:
            """The repaired formula.

            Rounding.
            """
            return 0.0

        @at_most(1e-9, sentence="two", role="print", repaired="repaired")
        def printed(self) -> float:
            """The printed formula.

            Rounding.
            """
            return 0.0

        @at_least(0.5, role="control")
        def seen(self) -> float:
            """What must be seen.

            Half of one.
            """
            return 1.0

    sentences = (Sentence("one", "The first holds."), Sentence("two", "The second is misprinted.", "eq. (2)"))
    said = Claim(
        "mine.print", "Both.", "x", "p. 1", sentences=sentences, repair=Repair("constant", "Put a 2.")
    )
    own = made(said, Printed, lambda key: ())
    names = {"distance": 0.0, "repaired": 0.0, "printed": 1.0, "seen": 1.0, "rank": 1.0}
    columns = {name: ("case", np.full(2, value)) for name, value in names.items()}
    columns |= {f"{name}_error": ("case", np.full(2, 1e-14)) for name in names}
    columns["distance_asked"] = ("case", np.asarray([1.0, 0.0]))
    dataset = xr.Dataset(columns, coords={"case": ["a", "b"]})
    text = Outline(
        page.render([outcome(own, verdict=own.judge(dataset), dataset=dataset)], sources=SOURCES)
    ).text
    for words in (
        "supported misprint all 2 sentences hold; a misprint beside.",
        "Repair (constant): Put a 2.",
        "“The second is misprinted.” eq. (2)",
        "as printed The printed formula",
        "Controls: what must be seen",
        "holds in 1 of 1 asked",
        "holds in 0 of 2 asked",
    ):
        assert words in text, words


def test_an_error_is_shown_with_its_last_line_and_stops_nothing() -> None:
    text = Outline(
        page.render([failed("mine.a", "deep\nValueError: why"), failed("mine.b", None)], sources={})
    ).text
    assert "2 error" in text
    assert "ValueError: why" in text
    assert "no verdict and no message" in text


def test_everything_from_outside_is_escaped() -> None:
    own = result(
        "mine.evil",
        statement=EVIL,
        formula=rf"\text{{{EVIL}}}",
        passage=EVIL,
        hypotheses=(EVIL, f"${EVIL}$", f"`{EVIL}`"),
        convention=EVIL,
        sentences=(Sentence("one", EVIL, EVIL),),
        repair=Repair("constant", EVIL),
        draw=lambda dataset, verdict: figures.curves(
            [0, 1], {EVIL: [0, 1]}, EVIL, EVIL, title=EVIL, caption=EVIL
        ),
    )
    dataset = own.dataset.assign_coords(case=[EVIL, EVIL, EVIL])
    provenance = {"budget": EVIL, "versions": {EVIL: EVIL}}
    own = replace(
        own, provenance=provenance, dataset=dataset, verdict=own.study.judge(dataset), settings=EVIL
    )
    broken = failed("mine.failed", EVIL, formula=rf"\frac{{{EVIL}")
    text = page.render([own, broken], title=EVIL, provenance={EVIL: EVIL}, sources={"mine": EVIL})
    outline = Outline(text)
    assert not {"script", "img"} & set(outline.tags)
    assert outline.handlers == []
    assert "<script" not in text
    assert EVIL in outline.text


def test_a_figure_that_fails_costs_its_picture_and_not_the_page() -> None:
    def draw(dataset: xr.Dataset, verdict: Any) -> Any:
        raise RuntimeError("no ink")

    text = Outline(page.render([result("mine.a", draw=draw)], sources=SOURCES)).text
    assert "The figure could not be drawn: RuntimeError: no ink" in text


def test_a_growing_page_draws_each_figure_once() -> None:
    calls: list[int] = []

    def draw(dataset: xr.Dataset, verdict: Any) -> Any:
        calls.append(1)
        return figures.curves([0, 1], {"": [0, 1]}, "x", "y")

    drawn: dict[str, drawing.Drawing] = {}
    one = result("mine.a", draw=draw)
    first = page.render([one], pending=["mine.b"], sources=SOURCES, drawn=drawn)
    page.render([one, result("mine.b")], sources=SOURCES, drawn=drawn)
    assert len(calls) == 1
    assert "mine.b" in first


def test_a_page_is_the_same_text_for_the_same_results() -> None:
    assert page.render(every_kind(), sources=SOURCES) == page.render(every_kind(), sources=SOURCES)


def test_no_results_are_a_page_too() -> None:
    assert "No claim was run." in page.render([], sources=SOURCES)


def test_write_makes_folders_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    target = page.write(tmp_path / "deep" / "index.html", [result("mine.a")], sources=SOURCES)
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [path.name for path in target.parent.iterdir()] == ["index.html"]


def test_figures_take_the_colours_of_the_page() -> None:
    made = drawing.drawing(figures.curves([0, 1], {"": [0, 1]}, "x", "y", caption="$x$ & y"), "figure-a")
    assert f"var(--fig-line1, {figures.COLOURS['line1']})" in made.svg
    assert 'aria-label="x &amp; y"' in made.svg
    dark = (Path(page.__file__).parent / "style.css").read_text(encoding="utf-8")
    named = set(re.findall(r"--fig-([a-z0-9]+):", dark))
    assert named == set(figures.COLOURS)


# --- one run -----------------------------------------------------------------------------------------


class Specified(BaseModel):
    network: dict[str, Any] = {"kind": "dense", "widths": [2, 1]}
    seed: int = 3


def trajectory(members: int = 0) -> xr.Dataset:
    t = np.linspace(0.0, 5.0, 11)
    lead: tuple[str, ...] = ("record", "member") if members else ("record",)
    values = np.exp(-t)[:, None] * np.ones(members) if members else np.exp(-t)
    return xr.Dataset(
        {
            "t": ("record", t),
            "log_t": ("record", np.log(np.maximum(t, 1e-300))),
            "status": ("record", np.zeros(11, dtype=int)),
            "loss": (lead, values),
            "loss_error": (lead, 1e-6 * values),
            "margins": (
                ("record", "example"),
                np.where(t[:, None] > 1.0, np.outer(t, np.arange(20.0)), np.nan),
            ),
        },
        attrs={
            "result": '["stopped", "stopped", "failed"]' if members else "stopped",
            "provenance": '{"flow": "F"}',
        },
    )


@pytest.mark.parametrize(
    "specification", [Specified(), {"name": EVIL, "seed": 3}, f"[network]\nkind = '{EVIL}'", None]
)
def test_a_run_says_how_it_ended_and_with_which_numbers(specification: Any) -> None:
    text = page.render_run(trajectory(), specification, {"host": EVIL})
    outline = Outline(text)
    assert "<script" not in text
    assert "stopped" in outline.text
    words = outline.text.replace("\N{NO-BREAK SPACE}", " ")
    assert "0.006737947 ± 7·10−9" in words
    assert "20 examples" in words
    assert "svg" in outline.tags


def test_an_ensemble_counts_how_its_members_ended() -> None:
    text = Outline(page.render_run(trajectory(members=3), {})).text
    assert "stopped (2 of 3 members)" in text
    assert "failed (1 of 3 members)" in text


def test_given_figures_replace_the_recorded_trajectory() -> None:
    text = page.render_run(trajectory(), {}, figures={"a caption": figures.panels(1)[0]})
    assert "a caption" in text
    assert "What was recorded" not in text


def test_time_is_log_t_where_t_overflows() -> None:
    dataset = trajectory()
    dataset["log_t"] = ("record", np.linspace(0.0, 1e4, 11))
    dataset["t"] = ("record", np.full(11, np.inf))
    assert "log" in drawing.trajectory(dataset, ["loss"]).axes[0].get_xlabel()
    with pytest.raises(ValueError, match="no observable"):
        drawing.trajectory(dataset[["t", "log_t"]])


# --- numbers and formulas ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "error", "text"),
    [
        (3.21e-12, 4e-14, "(3.21 ± 0.04)·10⁻¹²"),
        (3.214e-12, 1.2e-14, "(3.214 ± 0.012)·10⁻¹²"),
        (0.9, 0.004, "0.900 ± 0.004"),
        (-0.5, 0.0, "−0.5"),
        (7.0, 0.0, "7"),
        (1.0, 1e-14, "1 ± 10⁻¹⁴"),
        (0.0, 2e-12, "(0 ± 2)·10⁻¹²"),
        (1e-300, 2e-305, "(1.00000 ± 0.00002)·10⁻³⁰⁰"),
        (5e-324, 5e-324, "4.94·10⁻³²⁴ ± 4.9·10⁻³²⁴"),
        (None, 1.0, "no finite number"),
        (0.5, None, "0.5 ± ?"),
    ],
)
def test_an_error_has_two_digits_at_most_and_the_number_ends_with_it(
    number: float | None, error: float | None, text: str
) -> None:
    assert numbers.measured(number, error) == text


def test_a_number_near_its_tolerance_shows_the_digits_that_part_them() -> None:
    assert numbers.measured(1.0000000003, 0.0, resolution=3e-10) == "1.0000000003"
    assert numbers.required("==", 0.02, 1.0) == "= 1 ± 0.02"
    assert numbers.required(">=", -1e-12) == "≥ −10⁻¹²"
    assert [numbers.seconds(value) for value in (0.5, 3.21, 59.0, 200.0, 9000.0)] == [
        "0.50 s",
        "3.2 s",
        "59 s",
        "3 min 20 s",
        "2 h 30 min",
    ]


@pytest.mark.parametrize(
    "latex", [r"\frac{", r"\frac{a", r"\nonsense x", r"\left( a", "x^", "", "a & b", "}{"]
)
def test_a_formula_that_cannot_be_typeset_is_shown_as_written(latex: str) -> None:
    assert mathematics.block(latex).startswith('<pre class="latex">')


@pytest.mark.parametrize(
    ("latex", "piece"),
    [
        (r"\mathrm{tr}\,W", "<mi>tr</mi>"),
        (r"\frac{\mathrm{d}}{\mathrm{d}t}", '<mi mathvariant="normal">d</mi>'),
        (r"\hat w\log t", '<mspace width="0.167em"></mspace><mi>log</mi><mspace width="0.167em"></mspace>'),
        (r"\lim_{t\to\infty} w", "<munder><mi>lim</mi>"),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "<mtable"),
        (r"\text{<b>}", "<mtext>&lt;b&gt;</mtext>"),
    ],
)
def test_a_formula_is_typeset(latex: str, piece: str) -> None:
    assert piece in mathematics.block(latex)


def test_no_address_survives_in_a_formula() -> None:
    assert "javascript" not in mathematics.block(r"\href{javascript:alert(1)}{x}")


def test_prose_typesets_what_stands_between_dollars() -> None:
    text = mathematics.prose("costs 5$; $x^2$, `a<b` & <i>")
    assert "<code>a&lt;b</code> &amp; &lt;i&gt;" in text
    assert "<msup>" in mathematics.prose("if $x^2$ then")


def test_two_processes_may_write_the_same_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the other is between its write and its rename when this one writes and renames
    place, own = tmp_path / "index.html", Disk.rename

    def meanwhile(self: Disk, here: Path, there: Path) -> None:
        monkeypatch.setattr(Disk, "rename", own)
        monkeypatch.setattr("os.getpid", lambda: 7)
        Disk().write_bytes_atomically(place, b"theirs")
        own(self, here, there)

    monkeypatch.setattr(Disk, "rename", meanwhile)
    Disk().write_bytes_atomically(place, b"ours")
    assert place.read_bytes() == b"ours"
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
