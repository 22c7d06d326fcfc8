"""Checkpoints that are damaged."""

from __future__ import annotations

import pytest

from tinyse.core.errors import TrainingError
from tinyse.train.checkpoint import load_checkpoint


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04half"])
def test_a_damaged_checkpoint_is_one_line(tmp_path, content):
    (tmp_path / "last.npz").write_bytes(content)
    with pytest.raises(TrainingError, match="last.npz: damaged checkpoint"):
        load_checkpoint(tmp_path / "last.npz")
