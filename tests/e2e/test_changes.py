"""Changes while everybody works: listeners come, move and go, sessions stay, mail flows."""
import imaplib
import json
import os
import re
import resource
import smtplib
import socket
import threading
import time

import pytest

from appliance import PASSWORD, Appliance, free_ports, tls_context

ROUNDS = 6
SESSIONS = int(os.environ.get("MS_SESSIONS", "1000"))


@pytest.fixture(scope="module")
def mail():
    with Appliance() as running:
        yield running


class Session:
    """A line protocol, by hand: what is asked now must be answered now."""

    def __init__(self, port, greeting):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.lines = self.sock.makefile("rwb", buffering=0)
        assert self.lines.readline().startswith(greeting)

    def ask(self, line, expected):
        self.lines.write(line + b"\r\n")
        answer = self.lines.readline()
        while expected not in answer:
            assert answer and not answer.startswith((b"* BYE", b"421")), answer
            answer = self.lines.readline()

    def close(self):
        self.lines.close()
        self.sock.close()


class Sender(threading.Thread):
    """Mail that never stops coming; every connection and every reply counts."""

    def __init__(self, port):
        super().__init__()
        self.port = port
        self.sent, self.failures = 0, []
        self.is_over = threading.Event()

    def run(self):
        while not self.is_over.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", self.port, "client.example.net", timeout=30) as s:
                    s.sendmail("s@example.net", ["alice@example.test"],
                               f"Subject: {self.sent}\r\n\r\nhello\r\n")
                self.sent += 1
            except (OSError, smtplib.SMTPException) as why:
                self.failures.append(repr(why))


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def greeting(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        return sock.recv(200)


def set_all(mail, **values):
    words = []
    for key, value in values.items():
        words += [key.replace("__", "."), str(value)]
    return mail.ctl("set", *words)


def refused(mail, *words):
    done = mail.run_ctl(*words)
    assert done.returncode == 1, done.stdout
    return json.loads(done.stdout)["text"]


def change(mail, number, ports, names):
    """One of each kind of change, and some that must not happen."""
    moving, other = ports[number % 2], ports[(number + 1) % 2]
    set_all(mail, listener__moving__port=moving)
    assert greeting(moving).startswith(b"* OK") and not is_open(other)
    set_all(mail, listener__coming__role="pop3", listener__coming__port=other,
            listener__coming__address="127.0.0.1", listener__coming__hostname=names[number % 2])
    assert greeting(other).startswith(b"+OK")
    set_all(mail, listener__moving__address="*" if number % 2 else "127.0.0.1")
    set_all(mail, listener__moving__tls="required" if number % 2 else "offered",
            listener__staying__hostname=names[number % 2])
    assert names[number % 2].encode() in greeting(mail.ports["staying"])
    # Which line of which file, what was found there, what is expected.
    settings = re.escape(f"{mail.state}/conf/settings.conf")
    assert re.search(rf"{settings}:\d+: listener.moving.port: bind .*:{mail.held}: .* in use",
                     refused(mail, "set", "listener.moving.port", str(mail.held),
                             "listener.staying.hostname", "wrong.example.test"))
    assert re.search(rf"{settings}:\d+: listener.moving.certificate: found \"missing\", "
                     "expected a certificate",
                     refused(mail, "set", "listener.moving.certificate", "missing",
                             "listener.staying.hostname", "wrong.example.test"))
    for port in ("0", "65536", "-1", "smtp"):
        assert "1 to 65535" in refused(mail, "set", "listener.moving.port", port)
    assert names[number % 2].encode() in greeting(mail.ports["staying"])
    set_all(mail, listener__coming__enabled="no")
    assert not is_open(other) and is_open(moving)
    mail.ctl("unset", *[f"listener.coming.{key}" for key in
                        ("role", "port", "address", "hostname", "enabled")])
    if number % 3 == 0:
        mail.ctl("cert", "new", "default", "mail.example.test", "localhost", "--install")


@pytest.fixture
def many_files():
    """Each session is one here too."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(before[0], SESSIONS + 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(before[1], wanted)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_sessions_stay_while_listeners_come_move_and_go(mail, many_files):
    ports = free_ports(4)
    mail.ports["staying"] = ports[3]
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    mail.held = taken.getsockname()[1]
    set_all(mail, listener__moving__role="imap", listener__moving__port=ports[0],
            listener__moving__address="127.0.0.1", listener__moving__login_without_tls="yes",
            listener__staying__role="smtp", listener__staying__port=ports[3],
            listener__staying__address="127.0.0.1", listener__staying__auth="no",
            limits__preauth_deadline="10m")
    imap = [Session(ports[0], b"* OK") for _ in range(SESSIONS // 2)]
    for session in imap:
        session.ask(f'a LOGIN alice@example.test "{PASSWORD}"'.encode(), b"a OK")
        session.ask(b"b SELECT INBOX", b"b OK")
    pop3 = [Session(mail.ports["pop3"], b"+OK") for _ in range(SESSIONS // 4)]
    smtp = [Session(mail.ports["staying"], b"220 ") for _ in range(SESSIONS // 4)]
    sender = Sender(mail.ports["staying"])
    sender.start()
    pids = mail.pids()
    try:
        for number in range(1, ROUNDS + 1):
            change(mail, number, ports[:2], ("one.example.test", "two.example.test"))
    finally:
        sender.is_over.set()
        sender.join()
    assert not sender.failures and sender.sent > 0
    for session in imap:
        session.ask(b"c NOOP", b"c OK")
    for session in pop3:
        session.ask(b"CAPA", b"+OK")
    for session in smtp:
        session.ask(b"EHLO client.example.net", b"250 ")
    rows = mail.ctl("status")
    assert {r["process"]: r["connections"] for r in rows if "connections" in r and "process" in r
            and r["process"] in ("imapd-worker", "pop3d-worker", "smtpd-receive")} == {
                "imapd-worker": SESSIONS // 2, "pop3d-worker": SESSIONS // 4,
                "smtpd-receive": SESSIONS // 4}
    assert mail.pids() == pids

    def arrived():
        with imaplib.IMAP4_SSL("127.0.0.1", mail.ports["imaps"],
                               ssl_context=tls_context()) as client:
            client.login("alice@example.test", PASSWORD)
            return int(client.select("INBOX", readonly=True)[1][0]) == sender.sent
    mail.wait_for(arrived)
    for session in imap + pop3 + smtp:
        session.close()
    taken.close()
    log = mail.log_text()
    assert "program-ended" not in log and "commit-late" not in log


def test_status_says_what_each_listener_and_process_is(mail):
    with smtplib.SMTP("127.0.0.1", mail.ports["smtp"]) as client:
        client.ehlo()
        rows = mail.ctl("status")
    processes = {r["process"]: r for r in rows if "process" in r}
    listeners = {r["listener"]: r for r in rows if "listener" in r}
    assert set(processes) >= {"keyd", "authd", "smtpd", "smtpd-receive", "smtpd-local", "imapd",
                              "imapd-worker", "pop3d", "pop3d-worker"}
    for row in processes.values():
        assert row["memory"] > 0 and row["pid"] in mail.pids().values()
        assert row["uptime"] < 3600 and row["uid"] >= 0
    row = listeners["smtp"]
    assert row["bound"] and row["port"] == mail.ports["smtp"] and row["tls"] == "offered"
    assert row["connections"] == 1 and row["last-client"] == "127.0.0.1"
    assert time.time() - 60 < row["last-time"] <= time.time()
    assert row["certificate"] == "default" and row["days-left"] > 30


def test_sighup_is_a_reload(mail):
    mail.settings["smtp.recipients_max"] = "222"
    mail.write_conf()
    mail.process.send_signal(1)
    mail.wait_for(lambda: mail.ctl("get", "smtp.recipients_max")[0]["value"] == "222")
    mail.wait_for(lambda: f"reload file={mail.conf}" in mail.log_text())


@pytest.mark.parametrize("line, expected", [
    ('listener.imap.certificate = "missing"', 'found "missing", expected a certificate'),
    ('listener.late.port = "HELD"\nlistener.late.role = "imap"\n'
     'listener.late.address = "127.0.0.1"', "in use"),
    ('limits.connections = "many"', 'found "many", expected a number'),
])
def test_a_reload_that_is_refused_names_file_and_line(mail, line, expected):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        mail.write_conf()
        with open(mail.conf, encoding="utf-8") as conf:
            number = len(conf.readlines()) + 1
        with open(mail.conf, "a", encoding="utf-8") as conf:
            conf.write(line.replace("HELD", str(held.getsockname()[1])) + "\n")
        done = mail.run_ctl("reload")
        mail.write_conf()
        assert done.returncode != 0
        text = json.loads(done.stdout)["text"]
        assert f"{mail.conf}:{number}: {line.split(' ')[0]}: " in text and expected in text, text
    assert mail.ctl("reload")["ok"]
