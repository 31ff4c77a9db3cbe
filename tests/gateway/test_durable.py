"""Files that survive a crash: all of what was acknowledged, none of what was not."""

import os

import pytest

from trunkline.gateway.durable import append_durably, replace_durably


@pytest.fixture
def full(monkeypatch):
    """A disk that takes nothing more."""

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)


def test_what_is_appended_is_there_and_its_size_told(tmp_path):
    path = tmp_path / "f"
    assert append_durably(path, b"one\n") == 4
    assert append_durably(path, b"two\n") == 8
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_failed_append_leaves_nothing(tmp_path, full):
    path = tmp_path / "f"
    path.write_bytes(b"one\n")
    with pytest.raises(OSError, match="No space"):
        append_durably(path, b"two\n")
    assert path.read_bytes() == b"one\n"


def test_an_append_that_the_device_refuses_is_not_tried_again_when_the_file_is_closed(tmp_path, monkeypatch):
    truncated: list[int] = []
    monkeypatch.setattr(os, "truncate", lambda _path, size: truncated.append(size))
    path = tmp_path / "f"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"):
        append_durably(path, b"two\n")
    assert truncated == [0]


def test_a_replacement_is_whole_or_not_at_all(tmp_path, full, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space"):
        replace_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    assert replace_durably(path, b"new") == 3
    assert path.read_bytes() == b"new"
