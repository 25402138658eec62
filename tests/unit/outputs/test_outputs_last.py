"""`params.txt`, as A1111 keeps it."""

from __future__ import annotations

from modules.outputs.last import keep_parameters


def test_the_last_parameters_stand_alone_in_their_file_to_the_letter(tmp_path):
    keep_parameters(tmp_path, "first\nSteps: 1")
    keep_parameters(tmp_path, "ein Löwe, 森林\r\nSteps: 20")
    assert (tmp_path / "params.txt").read_bytes() == "ein Löwe, 森林\r\nSteps: 20".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["params.txt"]


def test_a_place_that_cannot_be_written_is_a_warning_not_an_error(tmp_path, caplog):
    (tmp_path / "params.txt").mkdir()
    keep_parameters(tmp_path, "text")
    assert "params.txt is not up to date" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["params.txt"]
