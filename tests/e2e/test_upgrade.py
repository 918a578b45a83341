"""Upgrades while everybody works: every process becomes the program that is installed now, nobody is
refused, nothing is lost or doubled; a program that does not start changes nothing."""
import imaplib
import json
import os
import poplib
import re
import signal
import smtplib
import socket
import ssl
import threading

import pytest

from appliance import BIN, PASSWORD, Appliance, tls_context
from test_changes import Sender, Session

ACCOUNTS = ("alice", "bob", "carol")


@pytest.fixture(scope="module")
def mail():
    running = Appliance(accounts=ACCOUNTS)
    libexec = f"{running.folder}/libexec"
    os.mkdir(libexec)
    os.chmod(libexec, 0o755)
    for name in os.listdir(BIN):
        os.symlink(f"{BIN}/{name}", f"{libexec}/{name}")
    running.settings["paths.libexec"] = libexec
    with running:
        yield running


def install(mail, program, path):
    """Puts another file in the place of a program, as a package does."""
    target = f"{mail.folder}/libexec/{program}"
    os.symlink(path, f"{target}.new")
    os.replace(f"{target}.new", target)


def status(mail):
    """Process -> its row; authd itself may just be ending."""
    done = mail.run_ctl("status")
    if done.returncode != 0:
        return {}
    return {r["process"]: r for r in json.loads(done.stdout) if "process" in r}


def retiring(mail, monitor):
    return status(mail).get(monitor, {}).get("retiring")


def pids(mail):
    return {name: row.get("pid") for name, row in status(mail).items()}


def wait_for_new(mail, before, *programs):
    """These are other processes now, and say so."""
    def is_new():
        now = pids(mail)
        return all(now.get(name) and now[name] != before[name] for name in programs)
    mail.wait_for(is_new)


def upgrade(mail):
    before = pids(mail)
    answer = mail.ctl("upgrade")
    assert answer["ok"], answer
    wait_for_new(mail, before, "smtpd-receive", "smtpd-local", "imapd-worker", "pop3d-worker",
                 "authd", "keyd")
    after = pids(mail)
    # Monitors execute another program, and stay the same process.
    for name in ("smtpd", "imapd", "pop3d", "web-server"):
        assert after[name] == before[name]


class Visitor(threading.Thread):
    """Somebody new, again and again."""

    def __init__(self, mail):
        super().__init__()
        self.mail, self.visits, self.failures = mail, 0, []
        self.is_over = threading.Event()

    def run(self):
        while not self.is_over.is_set():
            try:
                with imaplib.IMAP4_SSL("127.0.0.1", self.mail.ports["imaps"],
                                       ssl_context=tls_context(), timeout=60) as client:
                    client.login("bob@example.test", PASSWORD)
                    assert client.select("INBOX")[0] == "OK"
                self.visits += 1
            except (OSError, imaplib.IMAP4.error, AssertionError) as why:
                self.failures.append(repr(why))


def subjects(mail):
    with imaplib.IMAP4_SSL("127.0.0.1", mail.ports["imaps"], ssl_context=tls_context()) as client:
        client.login("alice@example.test", PASSWORD)
        if client.select("INBOX", readonly=True)[1] == [b"0"]:
            return []
        parts = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
        return sorted(p[1].split(b":", 1)[1].strip() for p in parts if isinstance(p, tuple))


def open_sessions(mail):
    imap = []
    for _ in range(10):
        session = imaplib.IMAP4_SSL("127.0.0.1", mail.ports["imaps"], ssl_context=tls_context())
        session.login("alice@example.test", PASSWORD)
        session.select("INBOX")
        imap.append(session)
    pop3 = poplib.POP3_SSL("127.0.0.1", mail.ports["pop3s"], context=tls_context())
    pop3.user("carol@example.test")
    pop3.pass_(PASSWORD)
    smtp = Session(mail.ports["smtp"], b"220 ")
    smtp.ask(b"EHLO client.example.net", b"250 ")
    smtp.ask(b"MAIL FROM:<s@example.net>", b"250")
    smtp.ask(b"RCPT TO:<bob@example.test>", b"250")
    smtp.ask(b"DATA", b"354")
    return imap, pop3, smtp


def test_upgrades_refuse_nobody_and_lose_nothing(mail):
    imap, pop3, smtp = open_sessions(mail)
    sender, visitor = Sender(mail.ports["smtp"]), Visitor(mail)
    sender.start()
    visitor.start()
    try:
        for _ in range(3):
            upgrade(mail)
    finally:
        sender.is_over.set()
        visitor.is_over.set()
        sender.join()
        visitor.join()
    assert not sender.failures and sender.sent > 0
    assert not visitor.failures and visitor.visits > 0
    # A transaction that was open ends well.
    smtp.lines.write(b"Subject: slow\r\n\r\nfor bob\r\n")
    smtp.ask(b".", b"250")
    smtp.ask(b"QUIT", b"221")
    smtp.close()
    for session in imap:
        assert session.noop()[0] == "OK"
        assert session.fetch("1", "FLAGS")[0] == "OK"
    assert pop3.stat()[0] >= 0
    # The maildrop is locked for the generation that knows nothing of that session.
    other = poplib.POP3_SSL("127.0.0.1", mail.ports["pop3s"], context=tls_context())
    other.user("carol@example.test")
    with pytest.raises(poplib.error_proto, match="IN-USE"):
        other.pass_(PASSWORD)
    assert retiring(mail, "imapd") == 1 and retiring(mail, "pop3d") == 1
    for session in imap:
        session.logout()
    pop3.quit()
    for monitor in ("smtpd", "imapd", "pop3d"):
        mail.wait_for(lambda m=monitor: retiring(mail, m) == 0)
    mail.wait_for(lambda: len(subjects(mail)) >= sender.sent)
    expected = sorted(str(i).encode() for i in range(sender.sent))
    assert subjects(mail) == expected
    log = mail.log_text()
    assert "program-killed" not in log and "link-format" not in log


def test_a_program_that_does_not_start_changes_nothing(mail):
    before = mail.pids()
    install(mail, "pop3d", "/bin/false")
    done = mail.run_ctl("upgrade")
    assert done.returncode == 1
    assert "pop3d" in json.loads(done.stdout)["text"] and "does not start" in done.stdout.decode()
    assert mail.pids() == before
    install(mail, "pop3d", f"{BIN}/pop3d")


def test_a_role_that_does_not_start_leaves_the_old_one_serving(mail):
    install(mail, "smtpd-receive", "/bin/false")
    assert mail.ctl("upgrade")["ok"]
    mail.wait_for(lambda: "event=program-ended program=smtpd-receive status=1" in mail.log_text())
    for _ in range(5):
        with smtplib.SMTP("127.0.0.1", mail.ports["smtp"], timeout=30) as client:
            assert client.noop()[0] == 250
    install(mail, "smtpd-receive", f"{BIN}/smtpd-receive")
    mail.wait_for(lambda: all(pids(mail).get(p) for p in ("smtpd-receive", "authd", "keyd")))
    mail.wait_for(lambda: retiring(mail, "smtpd") == 0)
    with smtplib.SMTP("127.0.0.1", mail.ports["smtp"], timeout=30) as client:
        assert client.noop()[0] == 250


def test_a_signal_does_it_too(mail):
    before = pids(mail)
    os.kill(mail.pids()["pop3d"], signal.SIGUSR2)
    wait_for_new(mail, before, "pop3d-worker")
    assert pids(mail)["pop3d"] == before["pop3d"]
    mail.process.send_signal(signal.SIGUSR2)
    before = pids(mail)
    wait_for_new(mail, before, "smtpd-receive", "imapd-worker")
    client = poplib.POP3("127.0.0.1", mail.ports["pop3"])
    client.quit()


@pytest.mark.parametrize("name,wanted", [("imap", b"* BYE [UNAVAILABLE]"),
                                         ("pop3", b"-ERR [SYS/TEMP]")])
def test_whoever_is_in_the_handshake_is_told(name, wanted):
    """The process that is to end finishes the handshake, and says to come again."""
    with Appliance() as mail:
        with socket.create_connection(("127.0.0.1", mail.ports[f"{name}s"]), 60) as sock:
            ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = tls_context().wrap_bio(theirs, ours)
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            sock.sendall(ours.read())
            theirs.write(sock.recv(65536))
            os.kill(mail.pids()[f"{name}d"], signal.SIGTERM)
            mail.wait_for(lambda: re.search(rf"{name}d-worker\[\d+\] event=drain connections=1",
                                            mail.log_text()))
            said = None
            while said is None:
                try:
                    tls.do_handshake()
                    sock.sendall(ours.read())
                    said = tls.read(1000)
                except ssl.SSLWantReadError:
                    sock.sendall(ours.read())
                    more = sock.recv(65536)
                    assert more, "a closed door"
                    theirs.write(more)
            assert said.startswith(wanted), said
