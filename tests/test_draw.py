"""Progress where stderr is no terminal: a line at every tenth, and one where a tenth takes long."""

import pytest

from tinyse.cli import draw
from tinyse.core.progress import Step


def lines(capsys: pytest.CaptureFixture[str], clock: float, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    now = iter(range(10_000))
    monkeypatch.setattr(draw.time, "monotonic", lambda: next(now) * clock)
    with draw.progress_bars() as show:
        for done in range(41):
            show(Step("train", done, 40, values={"loss": done / 8}))
    return capsys.readouterr().err.splitlines()


def test_a_line_at_every_tenth(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    said = lines(capsys, 0.01, monkeypatch)
    assert said == [f"train: {10 * tenth} % loss {4 * tenth / 8:.4g}" for tenth in range(11)]


def test_a_slow_task_says_where_it_is_every_minute(capsys: pytest.CaptureFixture[str],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    said = lines(capsys, 25.0, monkeypatch)
    assert "train: 7 % loss 0.375" in said and len(said) == 21, said
