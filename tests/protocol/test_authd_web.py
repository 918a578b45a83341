"""What authd does for the web admin: the setup code, the second factor, and one's own account."""
import base64
import hashlib
import hmac
import struct
import time

import ipc
import pytest

from test_authd import PASSWORD, Authd, log_in, refused

ERR_INVALID, ERR_EXISTS, ERR_DENIED, ERR_TEMP = 1, 3, 4, 10


@pytest.fixture
def empty():
    with Authd() as server:
        yield server


@pytest.fixture
def authd():
    with Authd() as server:
        yield server.fill()


def code_of(secret, step=0):
    """RFC 6238 as an authenticator computes it."""
    key = base64.b32decode(secret)
    counter = int(time.time()) // 30 + step
    mac = hmac.new(key, struct.pack(">Q", counter), hashlib.sha1).digest()
    at = mac[-1] & 15
    return f"{(struct.unpack('>I', mac[at:at + 4])[0] & 0x7fffffff) % 1000000:06d}"


# --- the first administrator -------------------------------------------------------------------
def test_setup_code_opens_a_session_until_there_is_an_administrator(empty):
    assert empty.web("setup", "status")[0][0] == {"needed": 1, "code": 0}
    refused(ERR_DENIED, empty.web, "setup", "begin", secret="0" * 32)
    first = empty.admin("setup-code")[0][0]["code"]
    code = empty.admin("setup-code")[0][0]["code"]
    assert first != code and len(code.replace("-", "")) == 32
    assert empty.web("setup", "status")[0][0] == {"needed": 1, "code": 1}
    refused(ERR_DENIED, empty.web, "setup", "begin", secret=first, client="192.0.2.1")
    token = empty.web("setup", "begin", secret=code.upper().replace("-", " "),
                      client="192.0.2.1")[0][0]["token"]
    empty.web("domain", "add", "example.test", token=token)
    # No account's session: what is one's own does not exist.
    refused(ERR_DENIED, empty.web, "my", "account", token=token)
    empty.web("account", "add", "root@example.test", "--admin", secret=PASSWORD, token=token)
    # It has done its work.
    refused(ERR_DENIED, empty.web, "domain", "list", token=token)
    refused(ERR_EXISTS, empty.web, "setup", "begin", secret=code)
    refused(ERR_EXISTS, empty.admin, "setup-code")
    assert empty.web("setup", "status")[0][0]["needed"] == 0
    assert empty.web("domain", "list", token=log_in(empty))[0]


def test_what_runs_programs_is_not_for_the_web(authd):
    token = log_in(authd)
    for name, value in (("acme.hook", "/bin/true"), ("paths.libexec", "/tmp"), ("process.uid_base", "5000")):
        refused(ERR_DENIED, authd.web, "set", name, value, token=token)
        refused(ERR_DENIED, authd.web, "set", "smtp.received_max", "51", name, value, token=token)
        refused(ERR_DENIED, authd.web, "unset", name, token=token)
    assert authd.admin("set", "acme.hook", "/bin/true")
    authd.web("set", "smtp.received_max", "51", token=token)


def test_setup_code_survives_a_kill_and_is_not_on_the_disk(empty):
    code = empty.admin("setup-code")[0][0]["code"]
    empty.kill()
    empty.start()
    data = open(f"{empty.state}/auth/env/data.mdb", "rb").read()
    assert code.replace("-", "").encode() not in data
    assert bytes.fromhex(code.replace("-", "")) not in data
    assert empty.web("setup", "begin", secret=code)[0][0]["token"]


def test_setup_codes_cannot_be_guessed(empty):
    code = empty.admin("setup-code")[0][0]["code"]
    for _ in range(5):
        refused(ERR_DENIED, empty.web, "setup", "begin", secret="1" * 32, client="192.0.2.7")
    # Even the right one now, from this network; from another it works.
    refused(ERR_TEMP, empty.web, "setup", "begin", secret=code, client="192.0.2.8")
    assert empty.web("setup", "begin", secret=code, client="198.51.100.1")[0][0]["token"]
    # Fifty in all, from wherever: then it is void.
    for i in range(45):
        refused(ERR_DENIED, empty.web, "setup", "begin", secret="2" * 32, client=f"203.0.{i}.1")
    refused(ERR_DENIED, empty.web, "setup", "begin", secret=code, client="198.51.100.1")
    assert empty.web("setup", "status")[0][0] == {"needed": 1, "code": 0}


# --- the second factor -------------------------------------------------------------------------
def begin_totp(authd):
    token = log_in(authd)
    rows, _ = authd.web("my", "totp", "begin", token=token)
    secret, recovery = rows[0]["secret"], [r["recovery"] for r in rows[1:]]
    assert len(recovery) == len(set(recovery)) == 10
    refused(ERR_DENIED, authd.web, "my", "totp", "confirm", "000000x", token=token)
    authd.web("my", "totp", "confirm", code_of(secret), token=token)
    return token, secret, recovery


def log_in_with(authd, code, client="192.0.2.9"):
    rows, _ = authd.web("login", "root@example.test", code, secret=PASSWORD, client=client)
    return rows[0]["token"]


def test_a_second_factor_is_asked_for_and_each_code_is_good_once(authd):
    token, secret, recovery = begin_totp(authd)
    row = authd.web("my", "account", token=token)[0][0]
    assert (row["second-factor"], row["recovery-codes"]) == (1, 10)
    assert "second factor" in refused(ERR_DENIED, authd.web, "login", "root@example.test",
                                      secret=PASSWORD)
    # The code that confirmed it is used up; the next one is not.
    refused(ERR_DENIED, log_in_with, authd, code_of(secret))
    code = code_of(secret, 1)
    log_in_with(authd, f"{code[:3]} {code[3:]}")
    refused(ERR_DENIED, log_in_with, authd, code)
    refused(ERR_DENIED, log_in_with, authd, "1234567")
    # A wrong password does not tell whether the code was right.
    assert refused(ERR_DENIED, authd.web, "login", "root@example.test", code_of(secret, 1),
                   secret="wrong") == "wrong address or password"
    log_in_with(authd, recovery[3])
    refused(ERR_DENIED, log_in_with, authd, recovery[3])
    authd.kill()
    authd.start()
    refused(ERR_DENIED, log_in_with, authd, recovery[3])
    token = log_in_with(authd, recovery[4].upper())
    assert authd.web("my", "account", token=token)[0][0]["recovery-codes"] == 8


def test_a_second_factor_can_be_removed(authd):
    token, _, recovery = begin_totp(authd)
    refused(ERR_EXISTS, authd.web, "my", "totp", "begin", token=token)
    authd.web("my", "totp", "remove", token=token)
    log_in(authd)
    begin_totp(authd)
    authd.admin("totp", "remove", "root@example.test")
    log_in(authd)
    refused(ERR_DENIED, authd.web, "my", "totp", "remove", token="")


def test_guessing_codes_is_throttled():
    with Authd(auth__failures_per_address="3") as authd:
        authd.fill()
        _, secret, _ = begin_totp(authd)
        for _ in range(3):
            refused(ERR_DENIED, log_in_with, authd, "000000")
        refused(ERR_TEMP, log_in_with, authd, code_of(secret, 1))


def test_a_password_alone_makes_no_network_known():
    """Or whoever has it could guess codes from each network without the account's limit."""
    with Authd(auth__failures_per_account="5", auth__failures_per_address="1000") as authd:
        authd.fill()
        _, secret, recovery = begin_totp(authd)
        log_in_with(authd, recovery[0], client="10.7.0.1")
        refused(ERR_DENIED, log_in_with, authd, "000000", client="10.0.0.1")
        # A commit carries at once what has been remembered.
        authd.admin("domain", "add", "other.test")
        for _ in range(4):
            refused(ERR_DENIED, log_in_with, authd, "000000", client="10.0.0.1")
        refused(ERR_TEMP, log_in_with, authd, code_of(secret, 1), client="10.0.0.1")
        # Who has shown both there is not locked out by it.
        log_in_with(authd, recovery[1], client="10.7.0.1")


def test_a_token_that_is_not_fresh_makes_no_password(monkeypatch, tmp_path):
    clock = tmp_path / "clock"
    clock.write_bytes(bytes(8))
    monkeypatch.setenv("MAILSTEAD_CLOCK", str(clock))
    with Authd() as authd:
        authd.fill()
        token = log_in(authd, "bob@example.test")
        authd.web("my", "app-password", "add", "phone", token=token)
        with open(clock, "r+b") as moved:
            moved.write(struct.pack("=q", 600))
        refused(ERR_DENIED, authd.web, "my", "app-password", "add", "thief", token=token)
        rows = authd.web("my", "app-password", "list", token=token)[0]
        assert [row["label"] for row in rows] == ["phone"]
        # Nor whom certificates come from, where mail is copied to, or whose mailbox it is put into.
        with open(clock, "r+b") as moved:
            moved.write(bytes(8))
        token = log_in(authd)
        authd.web("set", "acme.url", "https://ca.test/dir", token=token)
        with open(clock, "r+b") as moved:
            moved.write(struct.pack("=q", 600))
        for words in (("set", "acme.url", "https://evil.test/dir"), ("unset", "acme.url"),
                      ("set", "smtp.received_max", "51", "acme.ca_file", "/tmp/evil.pem"),
                      ("set", "backup.folder", "/tmp/evil"),
                      ("restore", "20260101T000000Z", "all")):
            refused(ERR_DENIED, authd.web, *words, token=token)
        authd.web("set", "smtp.received_max", "51", token=token)


# --- one's own account -------------------------------------------------------------------------
def test_people_see_and_change_their_own_account_only(authd):
    authd.admin("alias", "add", "sales@example.test", "bob@example.test", "alice@example.test")
    authd.admin("alias", "add", "other@example.test", "alice@example.test")
    token = log_in(authd, "bob@example.test")
    rows, _ = authd.web("my", "account", token=token)
    assert (rows[0]["address"], rows[0]["admin"], rows[0]["mailbox"]) == ("bob@example.test", 0, 1)
    assert [r["alias"] for r in rows[1:]] == ["sales@example.test"]
    made = authd.web("my", "app-password", "add", "phone", "imap", token=token)[0][0]
    with authd.auth() as auth:
        assert auth.login("bob@example.test", made["password"])["status"] == ipc.OK
    # A device's password opens no web session.
    refused(ERR_DENIED, authd.web, "login", "bob@example.test", secret=made["password"])
    assert [r["label"] for r in authd.web("my", "app-password", "list", token=token)[0]] == \
        ["phone"]
    other = log_in(authd, "alice@example.test")
    refused(2, authd.web, "my", "app-password", "remove", str(made["id"]), token=other)
    authd.web("my", "app-password", "remove", str(made["id"]), token=token)
    authd.web("my", "password", secret="a new password", token=token)
    refused(ERR_DENIED, authd.web, "my", "account", token=token)
    log_in(authd, "bob@example.test", "a new password")
    # Nothing of it from the command line: whose would it be?
    refused(14, authd.admin, "my", "account")


def test_an_administrators_login_reads_no_mail(authd):
    with authd.auth() as auth:
        for protocol in ("imap", "pop3", "smtp"):
            assert auth.login("root@example.test", PASSWORD, protocol=protocol)["status"] == \
                ipc.NOT_HERE
        assert auth.resolve("root@example.test") == (ipc.UNKNOWN, [])
    refused(ERR_INVALID, authd.admin, "account", "protocols", "root@example.test", "imap,web")
