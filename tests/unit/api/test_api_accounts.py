from __future__ import annotations

import pytest

from modules.api.accounts import Lockout, Logins, Sessions, parse_logins, read_logins
from modules.errors import SettingsError


def test_a_login_is_right_only_with_its_own_password():
    logins = Logins({"anna": "right", "bert": "left"})
    assert logins.check("anna", "right")
    for name, password in (("anna", "left"), ("anna", ""), ("carl", "right"), ("", "")):
        assert not logins.check(name, password)
        assert not logins.check_again(name, password)


def test_a_password_that_was_right_once_is_recognised_quickly_and_only_that_one():
    logins = Logins({"anna": "right"})
    assert logins.check_again("anna", "right") and logins.check_again("anna", "right")
    assert not logins.check_again("anna", "wrong")


def test_passwords_are_not_kept_as_text():
    assert "right" not in repr(vars(Logins({"anna": "right"})))


def test_a_session_ends_when_it_is_closed():
    sessions = Sessions()
    token = sessions.open("anna")
    assert sessions.user(token) == "anna"
    assert sessions.user(token + "x") is None
    sessions.close(token)
    assert sessions.user(token) is None


def test_guessing_gets_slower_and_others_at_the_address_are_spared():
    lockout = Lockout()
    for _ in range(5):
        lockout.failed("1.2.3.4", "anna")
    assert lockout.wait_s("1.2.3.4", "anna") == 0
    lockout.failed("1.2.3.4", "anna")
    first = lockout.wait_s("1.2.3.4", "anna")
    lockout.failed("1.2.3.4", "anna")
    assert 0 < first < lockout.wait_s("1.2.3.4", "anna")
    assert lockout.wait_s("1.2.3.4", "bert") == 0
    lockout.succeeded("1.2.3.4", "anna")
    assert lockout.wait_s("1.2.3.4", "anna") == 0


def test_guessing_many_names_from_one_address_is_slowed_down_too():
    lockout = Lockout()
    for number in range(31):
        lockout.failed("1.2.3.4", f"name {number}")
    assert lockout.wait_s("1.2.3.4", "a new name") > 0
    assert lockout.wait_s("5.6.7.8", "a new name") == 0


def test_logins_are_read_from_flags_and_files(tmp_path):
    file = tmp_path / "logins"
    file.write_text("anna:a:b\n\nbert:left , carl:x\n")
    assert read_logins(str(file), flag="--gradio-auth-path") == {"anna": "a:b", "bert": "left", "carl": "x"}
    assert parse_logins(None, flag="--gradio-auth") == {}


@pytest.mark.parametrize("text", ["anna", "anna:", ":right", "anna:right,bert"])
def test_an_entry_that_would_let_nobody_or_everybody_in_is_refused(text):
    with pytest.raises(SettingsError, match="user:password"):
        parse_logins(text, flag="--gradio-auth")


def test_a_file_of_logins_that_is_missing_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        read_logins(str(tmp_path / "none"), flag="--gradio-auth-path")
