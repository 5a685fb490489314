"""The folder of compiled code, and which modules import numba."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numba.core.errors import TypingError

from p2p.core import jit


def test_other_engines_do_not_load_numba():
    code = "import sys, p2p.engine, p2p.engine.autograd; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_a_kernel_that_allocates_an_array_is_refused():
    """Kernels count no references, so the array would never be freed."""

    @jit.kernel
    def total(n: int) -> float:
        return float(np.zeros(n).sum())

    with pytest.raises(TypingError, match="zeros"):
        total(3)


def test_the_cache_is_named_after_all_that_is_compiled():
    """Including modules that kernels take constants and tuples from, which do not use numba."""
    names = {path.name for path in jit.sources()}
    assert {"kernels.py", "compiled.py", "advantages.py"} <= names
    assert {"locomotion_columns.py", "vector.py", "rollout.py", "normaliser.py"} <= names
    assert "cohort.py" not in names


def test_cache_lies_in_the_named_folder_or_nowhere(tmp_path, monkeypatch):
    """A package in a read-only place on a read-only home still runs, uncached."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "named"))
    assert jit.cache_folder().parent == tmp_path / "named"
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert jit.cache_folder().parent == tmp_path / "user" / "p2p"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert jit.cache_folder() is None
