"""One's own data from a CSV or ``.npz`` file: arrays and an account of every row and column, or a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from gradlab.problem.bundled import split_rows
from gradlab.problem.data import Data
from gradlab.specification import cells, layout
from gradlab.specification.labels import Targets, chosen, labelled
from gradlab.specification.schema import CsvFile, NpzFile, OwnFile
from gradlab.specification.sentences import SpecificationError, did_you_mean
from gradlab.store import foreign
from gradlab.wording import brief, quoted

#: Bytes of one line of a CSV file.
_LINE = 4 << 20
#: Names of columns that number the rows.
_INDICES = frozenset(["", "unnamed: 0", "index", "id", "row", "rowid", "row_id", "rownames", "row names"])


@dataclass
class Part:
    """What one file (or one pair of arrays) gave, missing values as NaN, and what was said of it."""

    inputs: Float[np.ndarray, "N ..."]
    targets: Targets
    names: list[str]
    said: list[str] = field(default_factory=list)


def existing(path: Path, where: str) -> Path:
    """The path, if something that is no folder is there; else one sentence. What it is, is seen when it is read."""
    try:
        if path.exists() and not path.is_dir():
            return path
        known = [entry.name for entry in islice(path.parent.iterdir(), 1000)]
    except (OSError, ValueError):  # a loop of links, a NUL in the name, a folder that is none
        known = []
    if path.name in known:
        raise SpecificationError(f"{where}: {path} is a folder, or a link that leads nowhere; name a file")
    near = did_you_mean(path.name, known) if known else "its folder does not exist"
    hint = f"; {near}" if near.startswith(("did", "its")) else ""
    raise SpecificationError(f"{where}: there is no file {brief(str(path))}{hint}")


def own_data(section: CsvFile | NpzFile, labels: str, folder: Path) -> Data:
    """The data of a file of one's own; their provenance accounts for every row and column.

    Parameters
    ----------
    labels : ``real``, ``sign`` or ``class``: what the loss takes. folder : paths are relative to it.
    """
    parts = _csv(section, folder) if isinstance(section, CsvFile) else _npz(section, folder)
    said = [sentence for part in parts for sentence in part.said]
    parts = [_present(part, section, said) for part in parts]
    kept = chosen([part.targets for part in parts], section.classes)
    for part, rows in zip(parts, kept, strict=True):
        if not rows.all():
            said.append(f"{_count(int((~rows).sum()), 'row')} of other classes left out")
        part.inputs, part.targets = part.inputs[rows], part.targets.rows(rows)
    targets, words = labelled([part.targets for part in parts], labels, section.classes)
    said += [words] if words else []
    inputs = [part.inputs for part in parts]
    if section.test_fraction and len(parts) == 1:
        train, test = split_rows(len(inputs[0]), section.test_fraction, section.seed)
        if not (len(train) and len(test)):
            raise SpecificationError(
                f"in [data]: test_fraction = {section.test_fraction:g} of {_count(len(inputs[0]), 'row')} leaves one "
                "split without any; leave it out, or give another"
            )
        inputs, targets = [inputs[0][train], inputs[0][test]], [targets[0][train], targets[0][test]]
        said.append(f"{_count(len(train), 'row')} for training, {len(test)} drawn for testing")
    inputs = _filled(inputs, parts[0].names, section, said)
    arrays: list[Any] = [array for pair in zip(inputs, targets, strict=True) for array in pair]
    rest = arrays[2:] or [None, None]
    return Data(arrays[0], arrays[1], rest[0], rest[1], provenance=f"file {section.path}: " + "; ".join(said))


def _present(part: Part, section: OwnFile, said: list[str]) -> Part:
    """The part without the rows that miss what they must have; how many is said."""
    values = part.targets.values
    absent = np.isnan(values).reshape(len(values), -1).any(axis=1)
    if section.missing == "drop":
        absent |= np.isnan(part.inputs).reshape(len(values), -1).any(axis=1)
    if absent.all() and len(absent):
        raise SpecificationError(
            f"in [data]: every row of {section.path} misses a value; name the columns that are full, inputs = […]"
        )
    if absent.any():
        what = "a target" if section.missing == "mean" else "a value"
        rows, first = _count(int(absent.sum()), "row"), absent.argmax() + 1
        said.append(f"{rows} without {what} left out, the first is row {first} of the data")
    return Part(part.inputs[~absent], part.targets.rows(~absent), part.names)


def _filled(
    inputs: list[np.ndarray], names: list[str], section: OwnFile, said: list[str]
) -> list[np.ndarray]:
    """Missing inputs as the mean of the training rows, and all inputs standardised by these, where that is asked."""
    train = inputs[0]
    holes = sum(int(np.isnan(part).sum()) for part in inputs)
    if holes:
        if np.isnan(train).all(axis=0).any():
            raise SpecificationError(
                f"in [data]: a column of {section.path} has no value in any training row; leave it out"
            )
        mean = np.nanmean(train, axis=0)
        inputs = [np.where(np.isnan(part), mean, part) for part in inputs]
        said.append(f"{_count(holes, 'missing value')} became the mean of its column over the training rows")
        train = inputs[0]
    same = (train == train[:1]).all(axis=0)
    if same.any() and len(train) > 1:
        which = _names(names, np.flatnonzero(same.ravel()))
        constant = "constant and become 0" if section.standardise else "constant"
        said.append(f"{which} {'are' if same.sum() > 1 else 'is'} {constant}")
    if section.standardise:
        spread = np.where(same, 1.0, train.std(axis=0))
        mean = np.where(same, train[0], train.mean(axis=0))
        inputs = [(part - mean) / spread for part in inputs]
        said.append("inputs have mean 0 and variance 1 over the training rows")
    return inputs


def _names(names: Sequence[str], which: np.ndarray) -> str:
    shown = [brief(names[k], 40) if k < len(names) else str(k) for k in which[:6]]
    return f"input {', '.join(shown)}" + (f", … ({len(which)} inputs)" if len(which) > 6 else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# CSV -------------------------------------------------------------------------------------------------------


def _csv(section: CsvFile, folder: Path) -> list[Part]:
    for role, given in (("targets", section.targets), ("inputs", section.inputs or [])):
        twice = [name for name, count in Counter(given).items() if count > 1]
        if twice:
            raise SpecificationError(
                f"in [data]: {role} names column {quoted(twice[0])} twice; name each once"
            )
    train, names = _columns(section, folder, section.path)
    if section.test_path is None:
        return [train]
    if section.test_fraction:
        raise SpecificationError(
            "in [data]: test_path is the test split, and test_fraction draws one; give one of them"
        )
    same = {"inputs": train.names if names else list(map(int, train.names)), "index": None, "header": names}
    test, _ = _columns(section.model_copy(update=same), folder, section.test_path)
    return [train, test]


def last_column(section: CsvFile, path: Path) -> str | int:
    """The name of a file's last column, or its number where it has none."""
    content = foreign.whole_file(existing(path, "gradlab data"), foreign.LARGEST, "CSV")
    layout.refuse_large(path, content, section.delimiter or ",;\t|", _LINE)
    with foreign.reading(path, "CSV"):
        found = layout.find(path, content, section)
    return found.names[-1] if found.named else len(found.names) - 1


def _columns(section: CsvFile, folder: Path, name: str) -> tuple[Part, bool]:
    """What a file's columns are, with whether they are named in it."""
    path = existing(folder / name, "in [data]")
    content = foreign.whole_file(path, foreign.LARGEST, "CSV")
    layout.refuse_large(path, content, section.delimiter or ",;\t|", _LINE)
    with foreign.reading(path, "CSV"):
        try:
            found = layout.find(path, content, section)
            column = [_column(path, found, name, "targets") for name in section.targets]
            as_text = [str(label) for label in section.classes or () if isinstance(label, str)]
            labels = [as_text if j in column else [] for j in range(len(found.names))]
            columns = cells.columns_of(path, content, found, labels)
        except UnicodeDecodeError as error:
            raise foreign.Unreadable(
                f"{brief(str(path))} cannot be read as CSV: it is not UTF-8; save it as UTF-8"
            ) from error
    index = _index(path, section, found, columns, column)
    inputs = _inputs(path, section, found, column, index)
    used = {*inputs, *column, *index}
    left = [j for j in range(len(columns)) if j not in used]
    numeric = [columns[j].name for j in inputs if not columns[j].texted]
    for j in inputs:
        cells.number_column(path, columns[j], found.decimal, numeric, section.missing is not None)
    targets = _targets(path, section, found, [columns[j] for j in column])
    names = [found.names[j] for j in inputs]
    said = [f"{_count(len(targets.values), 'row')} of {_count(len(columns), 'column')}", *found.remarks]
    said.append(f"{_role('input', names)}, {_role('target', [found.names[j] for j in column])}")
    said += [f"{_role('row label', [found.names[j] for j in index])} left out"] if index else []
    said += [f"{_role('column', [found.names[j] for j in left])} left out"] if left else []
    counting = [columns[j].name for j in inputs if columns[j].counts()]
    said += [
        f"input {quoted(name)} numbers the rows; index = {quoted(name)} leaves it out" for name in counting
    ]
    values = np.column_stack([columns[j].numbers for j in inputs])
    return Part(values, targets, names, said), found.named


def _role(noun: str, names: Sequence[str]) -> str:
    shown = [brief(name, 40) or "(no name)" for name in names]
    text = ", ".join(shown) if len(shown) <= 12 else f"{', '.join(shown[:6])}, …, {shown[-1]} ({len(shown)})"
    return f"{noun}{'s' * (len(shown) > 1)} {text}"


def _column(path: Path, found: layout.CsvLayout, name: str | int, role: str) -> int:
    names = found.names
    if isinstance(name, int):
        if not 0 <= name < len(names):
            raise foreign.Unreadable(
                f"in [data]: {role} names column {name}, but {path.name} has columns 0 to {len(names) - 1}"
            )
        return name
    if name not in found.places:
        alone = f" (split at {quoted(found.delimiter)} it has one column)" if len(names) == 1 else ""
        raise foreign.Unreadable(
            f"in [data]: {path.name} has no column {quoted(name)} for the {role}{alone}; {did_you_mean(name, names)}"
        )
    return found.places[name]


def _index(
    path: Path, section: CsvFile, found: layout.CsvLayout, columns: list[cells.Column], targets: list[int]
) -> list[int]:
    """The columns that only label rows: those named, else one without a name and those named like one."""
    if section.index is not None:
        index = [_column(path, found, name, "index") for name in section.index]
        if both := set(index) & set(targets):
            raise SpecificationError(
                f"in [data]: column {quoted(found.names[min(both)])} is named both as index and as target"
            )
        return index
    if section.inputs is not None:
        return []
    index = []
    for j, column in enumerate(columns):
        if j in targets:
            continue
        either = f"write index = {j} if it labels the rows, index = [] if it is an input"
        if not found.named and j == 0 and len(column.numbers) > 3 and column.counts():
            raise SpecificationError(f"in [data]: column 0 of {path.name} numbers the rows; {either}")
        if found.named and column.name.strip().lower() in _INDICES:
            if column.distinct():
                index.append(j)
            elif not column.name:
                raise SpecificationError(f"in [data]: column {j} of {path.name} has no name; {either}")
    return index


def _inputs(
    path: Path, section: CsvFile, found: layout.CsvLayout, targets: list[int], index: list[int]
) -> list[int]:
    if section.inputs is None:
        inputs = [j for j in range(len(found.names)) if j not in {*targets, *index}]
    else:
        inputs = [_column(path, found, name, "inputs") for name in section.inputs]
    for role, columns in (("targets", targets), ("inputs", inputs)):
        if len(set(columns)) < len(columns):
            raise SpecificationError(
                f"in [data]: {role} names a column by its name and its number; name it once"
            )
    for role, others in (("target", targets), ("index", index)):
        if both := sorted(set(inputs) & set(others)):
            raise SpecificationError(
                f"in [data]: column {quoted(found.names[both[0]])} is named both as input and as {role}"
            )
    if not inputs:
        raise SpecificationError(
            f"in [data]: {path.name} has no column left for the inputs; is it split at {quoted(found.delimiter)}? Else "
            "write delimiter = '…'"
        )
    return inputs


def _targets(path: Path, section: CsvFile, found: layout.CsvLayout, columns: list[cells.Column]) -> Targets:
    texted = [column for column in columns if column.texted]
    if texted and len(columns) > 1:
        raise SpecificationError(
            f"in [data]: target {quoted(texted[0].name)} holds text; labels stand in one column, targets = ['…']"
        )
    if texted:
        (column,) = columns
        codes = np.asarray(column.codes)
        numbers = int(np.isfinite(column.numbers).sum())
        if numbers and section.classes is None:
            line, cell = column.texted or (0, "")
            few = "mend it" if 2 * numbers > len(codes) else "write classes = […] with the labels in quotes"
            raise foreign.Unreadable(
                f"{path} line {line}, column {quoted(column.name)}: {quoted(cell)} is not a number, and other cells "
                f"are; {few}"
            )
        if section.missing is None and column.absent:
            line, cell = column.absent
            what = quoted(cell) if cell else "an empty cell"
            raise foreign.Unreadable(
                f"{path} line {line}, column {quoted(column.name)}: {what} reads as missing; write missing = 'drop' to "
                "leave such rows out, or name all labels in classes = […]"
            )
        values = np.where(codes < 0, np.nan, codes)
        if numbers:  # other cells are numbers, and labels that classes leaves out
            column.texts.setdefault("(a number)", len(column.texts))
            values = np.where(np.isfinite(column.numbers), column.texts["(a number)"], values)
        return Targets(values[:, None], tuple(column.texts))
    for column in columns:
        cells.number_column(path, column, found.decimal, [], section.missing is not None)
    return Targets(np.column_stack([column.numbers for column in columns]))


# npz -------------------------------------------------------------------------------------------------------


def _npz(section: NpzFile, folder: Path) -> list[Part]:
    """The named arrays of an ``.npz`` file, never unpickled."""
    path = existing(folder / section.path, "in [data]")
    if (section.test_inputs is None) != (section.test_targets is None):
        raise SpecificationError("in [data]: test_inputs and test_targets come together; one is missing")
    if section.test_inputs is not None and section.test_fraction:
        raise SpecificationError(
            "in [data]: test_inputs is the test split, and test_fraction draws one; give one of them"
        )
    given = (section.inputs, section.targets, section.test_inputs, section.test_targets)
    names = [name for name in given if name is not None]
    with foreign.opened(path, foreign.LARGEST, ".npz") as file:
        found = foreign.arrays(file, path, names)
        held = foreign.array_names(file, path)
    read = [_finite(path, name, found[name], held, section.missing is not None) for name in names]
    said = [f"arrays {', '.join(f'{brief(name, 40)} {found[name].shape}' for name in names)}"]  # type: ignore[union-attr]
    left = [name for name in held if name not in names]
    said += [f"{_role('array', left)} left out"] if left else []
    parts = []
    for inputs, targets, name in zip(read[::2], read[1::2], names[::2], strict=True):
        if len(inputs) != len(targets):
            raise SpecificationError(
                f"in [data]: there are {len(inputs)} {name} and {len(targets)} targets; give one target per input"
            )
        columns = inputs[:, None] if inputs.ndim == 1 else inputs
        parts.append(Part(columns, Targets(targets), [str(k) for k in range(columns[0].size)]))
    parts[0].said = said
    return parts


def _finite(
    path: Path, name: str, values: np.ndarray | None, held: Sequence[str], fill: bool
) -> Float[np.ndarray, "N ..."]:
    if values is None:
        raise SpecificationError(
            f"in [data]: {path.name} has no array {quoted(name)}; {did_you_mean(name, held)}"
        )
    if not values.size:
        raise SpecificationError(
            f"{path}: array {quoted(name)} is empty, of shape {brief(str(values.shape), 60)}"
        )
    if values.dtype.kind in "iu" and ((values > cells.EXACT) | (values < -cells.EXACT)).any():
        spot = np.argwhere((values > cells.EXACT) | (values < -cells.EXACT))[0]
        raise SpecificationError(
            f"{path}: array {quoted(name)} is {values[tuple(spot)]} at index {spot.tolist()}, which float64 rounds; "
            "leave such a column out (an identifier?), or save it as floats"
        )
    wrong = np.isinf(values) if fill else ~np.isfinite(values)
    if wrong.any():
        spot = np.argwhere(wrong)[0]
        way = "; write missing = 'drop' or 'mean'" if np.isnan(values[tuple(spot)]) else ""
        raise SpecificationError(
            f"{path}: array {quoted(name)} is {values[tuple(spot)]} at index {spot.tolist()}{way}"
        )
    return values.astype(np.float64)
