"""What was compiled is kept, for this machine and user alone, and never believed blindly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gradlab.cli import compile_cache
from gradlab.store import identity

PROGRAM = """
from gradlab.cli.computing import begin
begin()
import jax, jax.numpy as jnp
print(float(jax.jit(lambda x: jnp.tanh(x @ x.T).sum())(jnp.arange(12.0).reshape(3, 4))))
"""


def run(**variables: str) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own, without the cache that the tests themselves may use."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "GRADLAB_"))}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    return subprocess.run(command, env=kept | variables, capture_output=True, text=True, check=True)


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*-cache"))


def test_programs_are_kept_and_a_damaged_one_is_compiled_again(tmp_path: Path) -> None:
    first = run(GRADLAB_COMPILE_CACHE=str(tmp_path / "mine"))
    kept = entries(tmp_path)
    assert kept
    for path in kept:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
    again = run(GRADLAB_COMPILE_CACHE=str(tmp_path / "mine"))
    assert again.stdout == first.stdout


@pytest.mark.parametrize("word", ["", "off", "0"])
def test_it_is_off_unless_asked_for(tmp_path: Path, word: str) -> None:
    run(GRADLAB_COMPILE_CACHE=word, XDG_CACHE_HOME=str(tmp_path))
    assert entries(tmp_path) == []


def test_it_lies_in_the_users_cache_unless_named(tmp_path: Path) -> None:
    run(XDG_CACHE_HOME=str(tmp_path), GRADLAB_COMPILE_CACHE="on")
    assert entries(tmp_path / "gradlab")


def test_another_version_or_instruction_set_is_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(compile_cache.VARIABLE, str(tmp_path))
    here = compile_cache.folder()
    known = identity.environment()
    for changed in ({"instruction_set": "x86_64 avx"}, {"versions": {**known["versions"], "jax": "0"}}):
        monkeypatch.setattr(identity, "environment", lambda changed=changed: {**known, **changed})
        assert compile_cache.folder() not in (None, here)


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    run(GRADLAB_COMPILE_CACHE=str(tmp_path / "mine"))
    (folder,) = {path.parent for path in entries(tmp_path)}
    for path in entries(tmp_path):
        path.unlink()
    folder.chmod(0o777)
    said = run(GRADLAB_COMPILE_CACHE=str(tmp_path / "mine")).stderr
    assert "others may write to" in said
    assert "leave GRADLAB_COMPILE_CACHE unset" in said
    assert entries(tmp_path) == []
