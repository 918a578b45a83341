"""authd over its sockets: logins, resolution, the admin plane, and what a kill leaves behind."""
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
import ipc  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
AUTHD = os.path.join(ROOT, os.environ.get("MS_BUILD", "build"), "bin", "authd")
PASSWORD = "correct horse battery"
ERR_INVALID, ERR_NOT_FOUND, ERR_EXISTS, ERR_DENIED = 1, 2, 3, 4
ERR_TEMP, ERR_BUSY, ERR_UNSUPPORTED = 10, 11, 14
SETTINGS = {"auth.argon2_memory": "64K", "auth.failures_per_address": "100000",
            "auth.failures_per_account": "100000", "auth.map_size": "64M"}


class Authd:
    def __init__(self, env=None, **settings):
        self.folder = tempfile.mkdtemp(prefix="mailstead-authd-")
        self.env = env or {}
        self.run = f"{self.folder}/run"
        self.state = f"{self.folder}/state"
        os.mkdir(self.run)
        os.mkdir(self.state)
        self.conf = f"{self.folder}/mailstead.conf"
        values = {**SETTINGS, "paths.run": self.run, "paths.state": self.state,
                  **{k.replace("__", "."): v for k, v in settings.items()}}
        with open(self.conf, "w", encoding="utf-8") as conf:
            conf.writelines(f'{k} = "{v}"\n' for k, v in values.items())
        self.log = open(f"{self.folder}/log", "ab")
        self.process = None
        self.start()

    def start(self):
        """Ready is a frame over the link, descriptor 3."""
        self.link, theirs = socket.socketpair()

        def on_three():
            os.dup2(theirs.fileno(), 3)
            os.set_inheritable(3, True)

        env = {**os.environ, "MAILSTEAD_ALLOW_ROOT": "1", "MS_LINK": "3",
               "ASAN_OPTIONS": "detect_leaks=1", **self.env}
        self.process = subprocess.Popen(
            [AUTHD, "-c", self.conf], stdin=subprocess.DEVNULL, stderr=self.log, env=env,
            preexec_fn=on_three, pass_fds=(3, theirs.fileno()))
        theirs.close()
        self.link.settimeout(30)
        assert self.link.recv(100) == ipc.frame(ipc.LINK_READY, 0, b""), self.log_text()

    def log_text(self):
        with open(f"{self.folder}/log", encoding="utf-8", errors="replace") as log:
            return log.read()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        code = None
        if self.process.poll() is None:
            code = self.stop()
        self.log.close()
        text = self.log_text()
        shutil.rmtree(self.folder, ignore_errors=True)
        if kind is None:
            assert code in (0, None), text[-4000:]
            assert "Sanitizer" not in text and "runtime error" not in text, text[-8000:]
        else:
            print(text[-8000:])

    def auth(self):
        return ipc.Client(f"{self.run}/authd/auth.sock")

    def admin(self, *words, **more):
        with ipc.Client(f"{self.run}/authd/admin.sock") as client:
            return client.admin(*words, **more)

    def web(self, *words, **more):
        with ipc.Client(f"{self.run}/authd/web.sock") as client:
            return client.admin(*words, **more)

    def fill(self):
        self.admin("domain", "add", "example.test")
        for name in ("alice", "bob"):
            self.admin("account", "add", f"{name}@example.test", secret=PASSWORD)
        self.admin("account", "add", "root@example.test", "--admin", secret=PASSWORD)
        return self


@pytest.fixture
def authd():
    with Authd() as server:
        yield server.fill()


def refused(code, call, *words, **more):
    with pytest.raises(ipc.Refused) as why:
        call(*words, **more)
    assert why.value.code == code, why.value
    return why.value.why


# --- logins ------------------------------------------------------------------------------------
def test_good_login_tells_account_and_address(authd):
    with authd.auth() as auth:
        good = auth.login("Alice@EXAMPLE.test", PASSWORD)
    assert (good["status"], good["account"], good["address"]) == (ipc.OK, 1, "alice@example.test")


def test_wrong_unknown_disabled_and_deleted_look_the_same(authd):
    authd.admin("account", "add", "carol@example.test", secret=PASSWORD)
    authd.admin("account", "remove", "carol@example.test")
    authd.admin("account", "disable", "bob@example.test")
    with authd.auth() as auth:
        answers = [auth.login(*who) for who in (
            ("alice@example.test", "wrong password"), ("nobody@example.test", PASSWORD),
            ("nobody@elsewhere.test", PASSWORD), ("alice", PASSWORD),
            ("bob@example.test", PASSWORD), ("carol@example.test", PASSWORD),
            ("not an address", PASSWORD), ("\x00", "\x00"))]
    assert answers[0]["status"] == ipc.FAILED
    assert all(answer == answers[0] for answer in answers), answers


def test_empty_and_endless_credentials_fail(authd):
    with authd.auth() as auth:
        for user, password in (("", ""), ("alice@example.test", ""), ("", PASSWORD),
                               ("alice@example.test", PASSWORD + "\0"), ("a" * 5000, PASSWORD),
                               ("alice@example.test", "x" * 100000)):
            assert auth.login(user, password)["status"] == ipc.FAILED
        assert auth.login("alice@example.test", PASSWORD, protocol="")["status"] == ipc.FAILED
        assert auth.login("alice@example.test", PASSWORD, protocol="web")["status"] == ipc.FAILED


def test_password_change_ends_the_remembered_login(authd):
    with authd.auth() as auth:
        for _ in range(3):
            assert auth.login("alice@example.test", PASSWORD)["status"] == ipc.OK
        authd.admin("account", "password", "alice@example.test", secret="another one")
        assert auth.login("alice@example.test", PASSWORD)["status"] == ipc.FAILED
        assert auth.login("alice@example.test", "another one")["status"] == ipc.OK
        authd.admin("account", "disable", "alice@example.test")
        assert auth.login("alice@example.test", "another one")["status"] == ipc.FAILED
        authd.admin("account", "enable", "alice@example.test")
        assert auth.login("alice@example.test", "another one")["status"] == ipc.OK


def test_protocols_and_receive_only(authd):
    authd.admin("account", "protocols", "alice@example.test", "imap")
    authd.admin("account", "receive-only", "bob@example.test", "yes")
    with authd.auth() as auth:
        assert auth.login("alice@example.test", PASSWORD)["status"] == ipc.OK
        assert auth.login("alice@example.test", PASSWORD, protocol="pop3")["status"] == \
            ipc.NOT_HERE
        assert auth.login("alice@example.test", "wrong one", protocol="pop3")["status"] == \
            ipc.FAILED
        assert auth.login("bob@example.test", PASSWORD)["status"] == ipc.OK
        assert auth.login("bob@example.test", PASSWORD, protocol="smtp")["status"] == ipc.NOT_HERE
        assert not auth.may_send(2, "bob@example.test")


def test_app_passwords(authd):
    rows, _ = authd.admin("app-password", "add", "alice@example.test", "my phone", "imap")
    secret = rows[0]["password"]
    assert len(secret) == 29
    with authd.auth() as auth:
        assert auth.login("alice@example.test", secret)["status"] == ipc.OK
        assert auth.login("alice@example.test", secret, protocol="smtp")["status"] == ipc.NOT_HERE
        assert auth.login("bob@example.test", secret)["status"] == ipc.FAILED
        assert auth.login("alice@example.test", PASSWORD)["status"] == ipc.OK
        rows, _ = authd.admin("app-password", "list", "alice@example.test")
        assert rows[0]["label"] == "my phone" and rows[0]["last-used"] > 0
        assert "password" not in rows[0]
        authd.admin("app-password", "remove", "alice@example.test", str(rows[0]["id"]))
        assert auth.login("alice@example.test", secret)["status"] == ipc.FAILED


def test_guessing_is_throttled_by_network():
    with Authd(auth__failures_per_address="10") as authd:
        authd.fill()
        with authd.auth() as auth:
            # All at once: those that wait for a hash count too.
            numbers = [auth.send(ipc.LOGIN, auth.login_body("alice@example.test", f"guess {i}",
                                                            client=f"198.51.100.{i}"))
                       for i in range(40)]
            got = {}
            while len(got) < 40:
                _, number, body = auth.receive()
                got[number] = auth.login_result(ipc.Reader(body))["status"]
            statuses = [got[n] for n in numbers]
            assert statuses.count(ipc.FAILED) == 10
            assert statuses.count(ipc.THROTTLED) == 30
            # Even the right password; but not elsewhere.
            assert auth.login("alice@example.test", PASSWORD, client="198.51.100.9")["status"] \
                == ipc.THROTTLED
            assert auth.login("alice@example.test", PASSWORD, client="203.0.113.1")["status"] \
                == ipc.OK


def test_a_known_address_is_not_locked_out():
    with Authd(auth__failures_per_account="5", auth__cache_seconds="0") as authd:
        authd.fill()
        with authd.auth() as auth:
            assert auth.login("alice@example.test", PASSWORD, client="2001:db8:1::7")["status"] \
                == ipc.OK
        # Remembered over a restart (a commit carries it at once).
        authd.admin("domain", "add", "other.test")
        authd.kill()
        authd.start()
        with authd.auth() as auth:
            for i in range(5):
                assert auth.login("alice@example.test", "a guess", client=f"10.0.{i}.1")[
                    "status"] == ipc.FAILED
            assert auth.login("alice@example.test", PASSWORD, client="10.9.9.9")["status"] \
                == ipc.THROTTLED
            assert auth.login("alice@example.test", PASSWORD, client="2001:db8:1:2::1")[
                "status"] == ipc.OK
            # A name that does not exist is throttled in the same way.
            for i in range(5):
                assert auth.login("nobody@example.test", "a guess", client=f"10.1.{i}.1")[
                    "status"] == ipc.FAILED
            assert auth.login("nobody@example.test", PASSWORD, client="10.9.9.9")["status"] \
                == ipc.THROTTLED


def test_how_long_an_address_is_known():
    """30 days from the last login there, by a clock that is moved."""
    handle, path = tempfile.mkstemp(prefix="mailstead-clock-")

    def set_days(days):
        os.pwrite(handle, struct.pack("=q", int(days * 86400)), 0)

    set_days(0)
    with Authd(env={"MAILSTEAD_CLOCK": path}, auth__failures_per_account="5",
               auth__cache_seconds="0") as authd:
        authd.fill()
        home, away = {"client": "2001:db8:1::7"}, {"client": "10.9.9.9"}
        with authd.auth() as auth:
            assert auth.login("alice@example.test", PASSWORD, **home)["status"] == ipc.OK
            for i in range(5):
                auth.login("alice@example.test", "a guess", client=f"10.0.{i}.1")
            assert auth.login("alice@example.test", PASSWORD, **away)["status"] == ipc.THROTTLED
            for days in (29.99, 29.99 + 29.9):  # each login begins them anew
                set_days(days)
                assert auth.login("alice@example.test", PASSWORD, **home)["status"] == ipc.OK
            set_days(29.99 + 29.9 + 30.01)
            assert auth.login("alice@example.test", PASSWORD, **home)["status"] == ipc.THROTTLED
            # The account's own owner, somewhere else in that time, never had a place of his.
            assert auth.login("alice@example.test", PASSWORD, **away)["status"] == ipc.THROTTLED
    os.close(handle)
    os.unlink(path)


def hashes(authd):
    with ipc.Client(f"{authd.run}/authd/ctl") as client:
        return client.admin("status")[0][0]["password-hashes"]


# Who can be asked for: (name, what makes that account)
STRANGERS = ("nobody@example.test", "nobody@elsewhere.test", "no address", "disabled@example.test",
             "removed@example.test", "admin@example.test", "alice@example.test")


def add_strangers(authd):
    for name in ("disabled", "removed"):
        authd.admin("account", "add", f"{name}@example.test", secret=PASSWORD)
    authd.admin("account", "add", "admin@example.test", "--admin", secret=PASSWORD)
    authd.admin("account", "disable", "disabled@example.test")  # asks monitors that are not there
    authd.admin("account", "remove", "removed@example.test")


def test_who_exists_costs_as_many_hashes_as_who_does_not():
    """One, with the same parameters, and the same answer: whatever is wrong with the login."""
    with Authd(auth__cache_seconds="0") as authd:
        authd.fill()
        add_strangers(authd)
        with authd.auth() as auth:
            answers = set()
            for user in STRANGERS:
                before = hashes(authd)
                answers.add(tuple(sorted(auth.login(user, "wrong password").items())))
                assert hashes(authd) == before + 1, user
            assert len(answers) == 1, answers
            # Right, but of no use: as if it were wrong.
            for user in ("disabled@example.test", "removed@example.test"):
                before = hashes(authd)
                answers.add(tuple(sorted(auth.login(user, PASSWORD).items())))
                assert hashes(authd) == before + 1, user
            assert len(answers) == 1, answers


@pytest.mark.skipif("MS_TIMING" not in os.environ, reason="takes minutes: make check-long")
def test_who_exists_takes_as_long_as_who_does_not():
    """Medians within 5 %: the tries of all take turns, so that what the machine does meets all."""
    tries = int(os.environ["MS_TIMING"])
    times = {user: [] for user in STRANGERS}
    with Authd(auth__cache_seconds="0", auth__argon2_memory="19M") as authd:
        authd.fill()
        add_strangers(authd)
        with authd.auth() as auth:
            for _ in range(tries):
                for user in STRANGERS:
                    began = time.perf_counter()
                    assert auth.login(user, "wrong password")["status"] == ipc.FAILED
                    times[user].append(time.perf_counter() - began)
    medians = {user: statistics.median(found) * 1000 for user, found in times.items()}
    print({user: f"{value:.3f} ms" for user, value in medians.items()})
    assert max(medians.values()) <= min(medians.values()) * 1.05, medians


def test_many_logins_at_once_give_some_temporary_failures():
    with Authd(auth__argon2_memory="19M") as authd:
        authd.fill()
        with authd.auth() as auth:
            for i in range(200):
                auth.send(ipc.LOGIN, auth.login_body("alice@example.test", "wrong",
                                                     client=f"10.{i}.0.1"))
            answers = [auth.login_result(ipc.Reader(auth.receive()[2])) for _ in range(200)]
            statuses = [a["status"] for a in answers]
            assert set(statuses) == {ipc.FAILED, ipc.TEMP}
            assert 64 <= statuses.count(ipc.FAILED) < 200
            assert all(a["text"] for a in answers if a["status"] == ipc.TEMP)
            assert auth.login("alice@example.test", PASSWORD)["status"] == ipc.OK


def test_a_hash_with_old_parameters_is_renewed(authd):
    authd.stop()
    with open(authd.conf, encoding="utf-8") as conf:
        text = conf.read()
    with open(authd.conf, "w", encoding="utf-8") as conf:
        conf.write(text.replace('"64K"', '"128K"'))
    authd.start()
    with authd.auth() as auth:
        assert auth.login("alice@example.test", PASSWORD)["status"] == ipc.OK
        deadline = time.monotonic() + 20
        data = f"{authd.state}/auth/env/data.mdb"
        while b"m=128,t=2,p=1" not in open(data, "rb").read():
            assert time.monotonic() < deadline
            auth.login("alice@example.test", "not it")
    authd.kill()
    authd.start()
    with authd.auth() as auth:
        assert auth.login("alice@example.test", PASSWORD)["status"] == ipc.OK


# --- frames ------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["auth.sock", "admin.sock", "web.sock"])
def test_a_broken_frame_closes_only_that_client(authd, name):
    with ipc.Client(f"{authd.run}/authd/{name}") as good:
        for junk in (b"\xff" * 12, b"\0\0\0\1\0\n\0\1\0\0\0\1x", b"GET / HTTP/1.0\r\n\r\n"):
            with ipc.Client(f"{authd.run}/authd/{name}") as bad:
                bad.sock.sendall(junk)
                with pytest.raises((ConnectionError, OSError)):
                    bad.receive()
        # A whole frame that says nothing is answered.
        for kind, body in ((ipc.LOGIN, b"\0\0"), (ipc.RESOLVE, b""), (ipc.SENDER, b"\1"),
                           (999, b""), (ipc.ADMIN, b"\0\0\0\0"), (ipc.ADMIN, b"\xff" * 40)):
            number = good.send(kind, body)
            got, answered, _ = good.receive()
            assert answered == number and got in (ipc.ERROR, ipc.END)
        # Half a frame, and gone.
        with ipc.Client(f"{authd.run}/authd/{name}") as bad:
            bad.sock.sendall(b"\0\0\0\x10\0\n")
    with authd.auth() as auth:
        assert auth.login("alice@example.test", PASSWORD)["status"] == ipc.OK


def test_a_client_that_leaves_before_its_answer(authd):
    for _ in range(20):
        with authd.auth() as auth:
            auth.send(ipc.LOGIN, auth.login_body("alice@example.test", "wrong"))
        with ipc.Client(f"{authd.run}/authd/admin.sock") as admin:
            admin.send(ipc.ADMIN, admin.admin_body(["account", "list"]))
    with authd.auth() as auth:
        assert auth.login("alice@example.test", PASSWORD)["status"] == ipc.OK


# --- resolution --------------------------------------------------------------------------------
def test_resolve(authd):
    authd.admin("alias", "add", "sales@example.test", "alice@example.test", "bob@example.test")
    authd.admin("alias", "add", "@example.test", "bob@example.test")
    with authd.auth() as auth:
        assert auth.resolve("alice@example.test") == \
            (ipc.LOCAL, [(1, "alice@example.test", "")])
        assert auth.resolve("alice+x@example.test")[1] == [(1, "alice@example.test", "x")]
        assert [t[0] for t in auth.resolve("sales@example.test")[1]] == [1, 2]
        assert [t[0] for t in auth.resolve("anything@example.test")[1]] == [2]
        assert [t[0] for t in auth.resolve("postmaster@example.test")[1]] == [1]
        assert [t[0] for t in auth.resolve("postmaster")[1]] == [1]
        assert auth.resolve("x@elsewhere.test") == (ipc.REMOTE, [])
        authd.admin("alias", "remove", "@example.test")
        assert auth.resolve("anything@example.test") == (ipc.UNKNOWN, [])
        assert auth.may_send(1, "sales@example.test")
        assert auth.may_send(1, "alice+y@example.test")
        assert not auth.may_send(1, "bob@example.test")
        assert not auth.may_send(77, "bob@example.test")


def test_alias_loops_are_refused_and_targets_may_be_elsewhere(authd):
    add = ("alias", "add")
    authd.admin(*add, "a@example.test", "alice@example.test")
    authd.admin(*add, "b@example.test", "a@example.test")
    authd.admin(*add, "c@example.test", "b@example.test")
    why = refused(ERR_INVALID, authd.admin, *add, "a@example.test", "c@example.test")
    assert "a@example.test > c@example.test > b@example.test > a@example.test" in why
    authd.admin(*add, "away@example.test", "x@elsewhere.test")
    with authd.auth() as auth:
        assert auth.resolve("away@example.test") == (ipc.LOCAL, [(0, "x@elsewhere.test", "")])
    authd.admin("alias", "remove", "away@example.test")
    refused(ERR_NOT_FOUND, authd.admin, *add, "x@example.test", "nobody@example.test")
    refused(ERR_NOT_FOUND, authd.admin, *add, "x@elsewhere.test", "alice@example.test")
    refused(ERR_EXISTS, authd.admin, *add, "bob@example.test", "alice@example.test")
    refused(ERR_BUSY, authd.admin, "alias", "remove", "a@example.test")
    refused(ERR_BUSY, authd.admin, "domain", "remove", "example.test")
    authd.admin(*add, "c@example.test", "bob@example.test")
    rows, _ = authd.admin("alias", "list")
    assert rows[2] == {"alias": "c@example.test", "targets": "b@example.test bob@example.test",
                       "until": 0}
    authd.admin("alias", "remove", "c@example.test", "b@example.test")
    assert authd.admin("alias", "list")[0][2]["targets"] == "bob@example.test"
    refused(ERR_INVALID, authd.admin, "alias", "remove", "c@example.test", "bob@example.test")


def test_international_domains(authd):
    authd.admin("domain", "add", "Bücher.test")
    authd.admin("account", "add", "leser@bücher.test", secret=PASSWORD)
    assert authd.admin("domain", "list")[0][1]["domain"] == "xn--bcher-kva.test"
    with authd.auth() as auth:
        assert auth.resolve("leser@xn--bcher-kva.test")[0] == ipc.LOCAL
        assert auth.resolve("leser@bücher.test")[0] == ipc.LOCAL
        assert auth.login("leser@bücher.test", PASSWORD)["status"] == ipc.OK


# --- the admin plane ---------------------------------------------------------------------------
def test_accounts(authd):
    rows, _ = authd.admin("account", "list")
    assert [(r["address"], r["number"], r["admin"]) for r in rows] == \
        [("alice@example.test", 1, 0), ("bob@example.test", 2, 0), ("root@example.test", 3, 1)]
    add = ("account", "add")
    refused(ERR_EXISTS, authd.admin, *add, "Alice@example.test", secret=PASSWORD)
    refused(ERR_NOT_FOUND, authd.admin, *add, "x@elsewhere.test", secret=PASSWORD)
    refused(ERR_INVALID, authd.admin, *add, "x+y@example.test", secret=PASSWORD)
    for bad in ("", "short", "with\nnewline", "with\0nul123"):
        refused(ERR_INVALID, authd.admin, *add, "x@example.test", secret=bad)
    refused(ERR_INVALID, authd.admin, *add, "no address", secret=PASSWORD)
    refused(ERR_INVALID, authd.admin, *add, secret=PASSWORD)
    authd.admin("account", "quota", "bob@example.test", "2G", "1000")
    with authd.auth() as auth:
        good = auth.login("bob@example.test", PASSWORD)
        assert (good["quota"], good["quota_messages"]) == (2 << 30, 1000)
    refused(ERR_INVALID, authd.admin, "account", "quota", "bob@example.test", "99999999999G")
    authd.admin("account", "remove", "bob@example.test")
    refused(ERR_NOT_FOUND, authd.admin, "account", "show", "bob@example.test")
    # The address is free again, the number never.
    authd.admin(*add, "bob@example.test", "--admin", secret=PASSWORD)
    row = authd.admin("account", "show", "bob@example.test")[0][0]
    assert (row["number"], row["admin"], row["protocols"]) == (4, 1, "web")
    assert [r["address"] for r in authd.admin("account", "list", "example.test", "--after",
                                              "alice@example.test")[0]] == \
        ["bob@example.test", "root@example.test"]


def test_commands_that_are_none(authd):
    for words in ((), ("",), ("nothing",), ("account",), ("account", "explode"),
                  ("domain", "add", "a.test", "b.test"), ("domain", "add", "-bad-"),
                  ("domain", "add", ""), ("audit", "list", "0"), ("get", "no.such", "x")):
        refused(ERR_INVALID, authd.admin, *words)
    refused(ERR_UNSUPPORTED, authd.admin, "login", "alice@example.test", secret=PASSWORD)
    assert {"account add", "queue"} <= {r["command"] for r in authd.admin("help")[0]}
    assert authd.admin("ping")[1].startswith("authd ")


def test_audit_says_who_did_what_and_no_secret(authd):
    refused(ERR_EXISTS, authd.admin, "domain", "add", "example.test")
    rows, _ = authd.admin("audit", "list")
    assert [(r["command"], r["result"]) for r in rows[:4]] == [
        ("domain add example.test", "ok"), ("account add alice@example.test", "ok"),
        ("account add bob@example.test", "ok"), ("account add root@example.test --admin", "ok")]
    assert rows[4]["result"].startswith("exists: ")
    assert all(r["who"] == f"uid {os.getuid()}" and r["time"] > 0 for r in rows)
    assert PASSWORD not in str(rows) and PASSWORD not in authd.log_text()
    assert len(authd.admin("audit", "list", "2")[0]) == 2


def test_settings(authd):
    rows, text = authd.admin("set", "imap.command_line_max", "32K")
    assert rows[0] == {"name": "imap.command_line_max", "restart": 0, "confirm": 0}
    authd.admin("set", "server.hostname", "mx.example.test")
    assert authd.admin("get", "imap.command_line_max")[0][0]["value"] == "32K"
    assert {"imap.command_line_max", "server.hostname", "paths.run"} <= {
        r["name"] for r in authd.admin("diff")[0]}
    assert authd.admin("set", "auth.hash_threads", "1")[0][0]["restart"] == 1
    refused(ERR_INVALID, authd.admin, "set", "imap.command_line_max", "many")
    refused(ERR_INVALID, authd.admin, "set", "no.such.setting", "1")
    refused(ERR_DENIED, authd.admin, "set", "auth.map_size", "1G")
    with open(f"{authd.state}/conf/settings.conf", encoding="utf-8") as conf:
        assert "32K" in conf.read()
    assert sorted(os.listdir(authd.state)) == ["auth", "conf"]
    authd.kill()
    authd.start()
    assert authd.admin("get", "server.hostname")[0][0]["value"] == "mx.example.test"
    authd.admin("unset", "server.hostname")
    assert authd.admin("get", "server.hostname")[0][0]["origin"] == "default"


def value(authd, name):
    return authd.admin("get", name)[0][0]["value"]


def test_several_settings_at_once_all_or_none(authd):
    refused(ERR_INVALID, authd.admin, "set", "listener.more.port", "10143", "listener.more.tls")
    refused(ERR_INVALID, authd.admin, "set", "smtp.recipients_max", "200", "smtp.received_max", "0")
    assert value(authd, "smtp.recipients_max") == "1000"
    # Alone it would stand on port 25, which is another's.
    refused(ERR_INVALID, authd.admin, "set", "listener.more.role", "imap")
    rows, _ = authd.admin("set", "listener.more.role", "imap", "listener.more.port", "10143")
    assert [r["name"] for r in rows if "name" in r] == ["listener.more.role", "listener.more.port"]
    assert value(authd, "listener.more.port") == "10143"
    authd.admin("unset", "listener.more.role", "listener.more.port")
    refused(ERR_NOT_FOUND, authd.admin, "get", "listener.more.port")


def wait_until(what):
    end = time.monotonic() + 30
    while not (value_now := what()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return value_now


def test_a_change_that_could_lock_out_waits_to_be_confirmed(authd):
    revert = f"{authd.state}/conf/settings.revert"
    refused(ERR_NOT_FOUND, authd.admin, "confirm")
    assert authd.admin("confirm", "status")[0] == []
    before = value(authd, "web.port")
    authd.admin("set", "smtp.recipients_max", "300")
    rows, text = authd.admin("set", "web.port", "8443")
    assert rows[0]["confirm"] == 60 and "mailsteadctl confirm" in text
    assert 0 < authd.admin("confirm", "status")[0][0]["seconds"] <= 60
    refused(ERR_BUSY, authd.admin, "set", "smtp.recipients_max", "400")
    refused(ERR_BUSY, authd.admin, "set", "web.port", "7443", "smtp.recipients_max", "400")
    # A newer one of the same setting takes its place, and it is that one that is confirmed.
    assert authd.admin("confirm", "status")[0][0]["settings"] == "web.port"
    authd.admin("set", "web.port", "0")
    authd.admin("set", "web.port", "8443")
    authd.admin("reload")
    assert value(authd, "web.port") == "8443"
    assert authd.admin("confirm")[1] == "kept: web.port"
    assert not os.path.exists(revert) and authd.admin("confirm", "status")[0] == []
    assert value(authd, "web.port") == "8443"
    authd.admin("set", "web.port", "9443")
    authd.admin("set", "web.port", "9444")
    authd.admin("set", "web.port", "9443")
    # A power cut makes it neither final nor longer.
    authd.kill()
    authd.start()
    assert value(authd, "web.port") == "9443"
    assert 0 < authd.admin("confirm", "status")[0][0]["seconds"] <= 60
    authd.kill()
    lines = open(revert, encoding="utf-8").read().split("\n", 1)
    with open(revert, "w", encoding="utf-8") as late:
        late.write(f"# Undone at {int(time.time()) - 5} unless confirmed.\n{lines[1]}")
    authd.start()
    wait_until(lambda: value(authd, "web.port") == "8443")
    wait_until(lambda: not os.path.exists(revert))
    wait_until(lambda: "event=settings-reverted" in authd.log_text())
    assert value(authd, "smtp.recipients_max") == "300" and before != "8443"
    row = wait_until(lambda: [r for r in authd.admin("audit", "list")[0]
                              if r["command"] == "revert web.port"])[0]
    assert row["who"] == "authd"
    assert row["result"] == "ok: not confirmed in time"
    authd.admin("set", "smtp.recipients_max", "400")


def test_a_browser_confirms_through_the_new_port_only(authd):
    token = authd.web("login", "root@example.test", secret=PASSWORD)[0][0]["token"]
    authd.admin("set", "web.port", "8443")
    for words in (["confirm"], ["confirm", "443"], ["confirm", "x"]):
        refused(ERR_DENIED, authd.web, *words, token=token)
    authd.web("confirm", "8443", token=token)
    refused(ERR_NOT_FOUND, authd.web, "confirm", "8443", token=token)


def test_a_command_has_one_row_whatever_came_of_it(authd):
    with pytest.raises(ipc.Refused):  # there is no keyd here
        authd.admin("cert", "remove", "nothing")
    rows = [r for r in authd.admin("audit", "list")[0] if r["command"] == "cert remove nothing"]
    assert len(rows) == 1 and not rows[0]["result"].startswith("ok"), rows


def test_status_and_daemons_that_are_away(authd):
    rows, _ = authd.admin("status")
    mine = [r for r in rows if r["process"] == "authd"][0]
    assert mine["accounts"] == 3 and mine["pid"] == authd.process.pid
    assert {r["process"] for r in rows if "error" in r} == {
        "keyd", "smtpd", "smtpd-receive", "smtpd-local", "smtpd-send",
        "smtpd-fetch", "imapd", "imapd-worker", "pop3d", "pop3d-worker",
        "web-server", "web-worker"}
    with pytest.raises(ipc.Refused) as why:
        authd.admin("queue", "list")
    assert "smtpd-local" in why.value.why


def test_sockets_have_their_modes(authd):
    modes = {name: os.stat(f"{authd.run}/authd/{name}").st_mode & 0o777
             for name in ("admin.sock", "auth.sock", "web.sock")}
    assert modes == {"admin.sock": 0o600, "auth.sock": 0o660, "web.sock": 0o660}
    assert os.stat(f"{authd.state}/auth").st_mode & 0o777 == 0o700
    assert os.stat(f"{authd.state}/auth/env/data.mdb").st_mode & 0o777 == 0o600


# --- the web admin -----------------------------------------------------------------------------
def log_in(authd, address="root@example.test", password=PASSWORD):
    rows, _ = authd.web("login", address, secret=password, client="192.0.2.9")
    assert len(rows[0]["token"]) == 32
    return rows[0]["token"]


def test_web_needs_a_session_of_an_administrator(authd):
    everything = [r for r in authd.admin("help")[0] if r["role"] != "anyone"]
    assert len(everything) > 30
    user = log_in(authd, "bob@example.test")
    for verb in everything:
        words = verb["command"].split() + ["x"] * 2
        for token in ("", "0" * 32, "f" * 31, "\xff" * 32):
            refused(ERR_DENIED, authd.web, *words, token=token)
        if verb["role"] == "administrator":
            refused(ERR_DENIED, authd.web, *words, token=user)
    assert authd.web("whoami", token=user)[0][0] == {
        "address": "bob@example.test", "admin": 0, "mailbox": 1}
    admin = log_in(authd)
    assert authd.web("account", "list", token=admin, client="192.0.2.9")[0]
    authd.web("domain", "add", "web.test", token=admin, client="192.0.2.9")
    row = authd.admin("audit", "list", "1")[0][0]
    assert (row["who"], row["client"]) == ("root@example.test", "192.0.2.9")
    for words in (("account", "remove"), ("account", "disable")):
        assert "lock you out" in refused(
            ERR_DENIED, authd.web, *words, "root@example.test", token=admin)
    authd.web("logout", token=admin)
    refused(ERR_DENIED, authd.web, "whoami", token=admin)


def test_web_logins_that_fail_say_one_thing(authd):
    texts = {refused(ERR_DENIED, authd.web, "login", address, secret=secret) for address, secret in
             (("alice@example.test", "wrong"), ("nobody@example.test", PASSWORD), ("", ""))}
    assert texts == {"wrong address or password"}


def test_sessions_survive_a_restart_and_end_with_the_password(authd):
    token, second = log_in(authd), log_in(authd)
    assert token != second
    authd.web("logout", token=second)
    authd.kill()
    authd.start()
    assert authd.web("whoami", token=token)[0][0]["admin"] == 1
    refused(ERR_DENIED, authd.web, "whoami", token=second)
    data = open(f"{authd.state}/auth/env/data.mdb", "rb").read()
    assert token.encode() not in data and bytes.fromhex(token) not in data
    authd.admin("account", "password", "root@example.test", secret="another one")
    refused(ERR_DENIED, authd.web, "whoami", token=token)


# --- durability --------------------------------------------------------------------------------
def test_every_acknowledged_account_survives_a_kill():
    with Authd() as authd:
        authd.admin("domain", "add", "example.test")
        acknowledged = set()
        for cycle in range(4):
            stop_at = len(acknowledged) + 25

            def add(worker, cycle=cycle):
                try:
                    with ipc.Client(f"{authd.run}/authd/admin.sock") as admin:
                        for i in range(1000):
                            address = f"u{cycle}-{worker}-{i}@example.test"
                            admin.admin("account", "add", address, secret=PASSWORD)
                            acknowledged.add(address)
                except (ConnectionError, OSError):
                    pass

            threads = [threading.Thread(target=add, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            while len(acknowledged) < stop_at:
                threads[0].join(0.005)
            authd.kill()
            for thread in threads:
                thread.join(30)
            authd.start()
            rows, _ = authd.admin("account", "list")
            there = {r["address"]: r["number"] for r in rows}
            assert acknowledged <= there.keys()
            assert len(set(there.values())) == len(there)


def test_numbers_are_never_used_twice():
    with Authd() as authd:
        authd.admin("domain", "add", "example.test")
        for number in range(1, 6):
            authd.admin("account", "add", "x@example.test", secret=PASSWORD)
            assert authd.admin("account", "show", "x@example.test")[0][0]["number"] == number
            authd.admin("account", "remove", "x@example.test")
            authd.kill()
            authd.start()
