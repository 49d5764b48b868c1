import pytest

from cxrflow.models.progress import ProgressBar


def test_nothing_is_drawn_into_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("epoch 1", 3) as bar:
        bar.advance(3)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_sees_the_bar_fill_and_then_vanish(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with ProgressBar("epoch 1", 4) as bar:
        bar.advance(2)
    text = capsys.readouterr().err
    assert "epoch 1 [" + "#" * 15 + "." * 15 + "]  50 %" in text
    assert text.endswith("\r\033[K")


def test_unknown_total_shows_the_amount(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with ProgressBar("download", 0) as bar:
        bar.advance(17)
    assert "download 17" in capsys.readouterr().err
