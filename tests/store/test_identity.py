"""The name of a run follows from everything that decides its bits, and from nothing else."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

import gradlab
from gradlab.store.run import Foreign, Identity, code_digest, environment

CONTENT: dict[str, Any] = {
    "specification": {
        "flow": "gradient",
        "widths": [3, 4, 1],
        "tolerance": 1e-9,
        "decay": None,
        "bias": False,
    },
    "data": "ab" * 32,
    "versions": {"gradlab": "0.1.0", "jax": "0.10.2"},
    "cores": 2,
    "instruction_set": "x86_64 avx avx2 fma",
    "code": "cd" * 32,
}


def changed(*path: Any, to: Any) -> Identity:
    """The identity with one entry changed."""
    content = copy.deepcopy(CONTENT)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return Identity(content)


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("specification", "tolerance"), 1.0000000000000002e-9),
        (("specification", "widths"), [3, 4, 2]),
        (("specification", "widths"), [4, 3, 1]),
        (("specification", "bias"), 0),
        (("specification", "decay"), 0.0),
        (("specification", "new"), None),
        (("data",), "ab" * 31 + "ac"),
        (("versions", "jax"), "0.10.3"),
        (("cores",), 4),
        (("instruction_set",), "x86_64 avx avx2"),
        (("code",), "ce" * 32),
    ],
)
def test_any_change_of_content_changes_the_name(path: tuple[Any, ...], to: Any) -> None:
    assert changed(*path, to=to).name != Identity(CONTENT).name


def test_order_of_keys_and_tuples_for_lists_do_not_change_the_name() -> None:
    turned = {key: CONTENT[key] for key in reversed(CONTENT)}
    turned["specification"] = {**CONTENT["specification"], "widths": (3, 4, 1)}
    assert Identity(turned) == Identity(CONTENT)
    assert Identity(turned).digest == Identity(CONTENT).digest


def test_an_identity_survives_its_own_text_and_does_not_follow_later_changes() -> None:
    content = copy.deepcopy(CONTENT)
    identity = Identity(content)
    digest = identity.digest
    content["cores"] = 64
    assert identity.digest == digest
    assert Identity.from_bytes(identity.text) == identity
    assert len(identity.name) >= 16


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: "one"}, {"x": object()}, [b"bytes"]])
def test_what_json_cannot_say_exactly_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"write finite numbers|keys are strings"):
        Identity({"specification": value})


@pytest.mark.parametrize("text", [b'{"a": 1}', b'{"a":1}\n', b'{"b":1,"a":1}', b'{"a":1,"a":1}', b"[]"])
def test_text_that_is_not_canonical_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"canonical|dictionary"):
        Identity.from_bytes(text)


@pytest.mark.parametrize(
    ("path", "to", "words"),
    [
        (("cores",), 4, "cores of 2 and here is 4"),
        (("versions", "jax"), "9.9", "jax 0.10.2 and here is 9.9"),
        (("instruction_set",), "arm64", "instruction set x86_64 avx avx2 fma and here is arm64"),
        (("code",), "ff", "code of digest"),
    ],
)
def test_another_place_is_foreign_and_the_sentence_names_rebind(path: Any, to: Any, words: str) -> None:
    with pytest.raises(Foreign, match=words) as caught:
        Identity(CONTENT).require(changed(*path, to=to), Path("runs/x"))
    assert "gradlab resume runs/x --rebind" in str(caught.value)


def test_another_specification_is_foreign_before_the_place_is_compared() -> None:
    other = Identity({**changed("specification", "bias", to=True).content, "cores": 8})
    with pytest.raises(Foreign, match="its specification differs"):
        Identity(CONTENT).require(other, Path("runs/x"))


def test_a_child_is_another_run_that_may_be_continued_in_its_own_place() -> None:
    here = changed("cores", to=4)
    child = here.child_of({"identity": Identity(CONTENT).digest, "segments": 3, "head": "0" * 64})
    assert child.name not in (here.name, Identity(CONTENT).name)
    child.require(here, Path("runs/x"))
    with pytest.raises(Foreign):
        child.require(Identity(CONTENT), Path("runs/x"))


def test_the_environment_is_json_and_names_versions_cores_and_instructions() -> None:
    place = environment()
    assert json.loads(json.dumps(place)) == place
    assert set(place["versions"]) == {"gradlab", "jax", "jaxlib", "numpy", "diffrax", "equinox", "optax"}
    assert place["cores"] >= 1
    assert place["instruction_set"]
    assert environment() == place


def test_the_code_digest_sees_every_source_byte_and_name(tmp_path: Path) -> None:
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms" / "one.py").write_text("a = 1\n")
    (tmp_path / "notes.txt").write_text("not code")
    before = code_digest(tmp_path)
    (tmp_path / "notes.txt").write_text("still not code")
    assert code_digest(tmp_path) == before
    (tmp_path / "rooms" / "one.py").write_text("a = 2\n")
    edited = code_digest(tmp_path)
    (tmp_path / "rooms" / "one.py").rename(tmp_path / "rooms" / "two.py")
    assert len({before, edited, code_digest(tmp_path)}) == 3
    package = Path(gradlab.__file__).parent
    assert code_digest(package, ("store",)) != code_digest(package)
