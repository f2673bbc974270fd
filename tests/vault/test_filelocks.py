"""A lock counts on the file that stands there, not on one that was taken away."""

from pathlib import Path

import pytest

from vrm.vault import filelocks


@pytest.mark.parametrize("again", [False, True])
def test_a_file_that_is_taken_away_as_it_is_opened_is_not_the_one_that_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, again: bool
) -> None:
    path, touched = tmp_path / "lock", filelocks.touched

    def too_late(file: Path) -> int:
        monkeypatch.undo()
        descriptor = touched(file)
        file.unlink()
        if again:
            file.touch()
        return descriptor

    monkeypatch.setattr(filelocks, "touched", too_late)
    with filelocks.held(path) as mine, filelocks.held(path) as also:
        assert (mine, also) == (True, False)
