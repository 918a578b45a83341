"""mailsteadctl on a running instance: every verb answers in JSON, does what it says, and says why
it does not; wrong configurations never start."""
import json
import os
import poplib
import pty
import subprocess

import pytest

from appliance import BIN, ROOT, Appliance, PASSWORD
from clients import ALICE, BOB, imap, imap_all, pop3, run, send_raw, smtp

LETTER = b"Subject: %s\r\n\r\ntext\r\n"


@pytest.fixture(scope="module")
def mail():
    with Appliance() as appliance:
        yield appliance


def refused(mail, *words, secret=None, code=1):
    """The error of a verb that must fail: JSON with a code and a text."""
    done = mail.run_ctl(*words, secret=secret)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    answer = json.loads(done.stdout)
    assert set(answer) == {"error", "text"} and answer["text"]
    return answer["error"]


def subjects(mail, login, password=PASSWORD):
    session = imap(mail)
    session.login(login, password)
    found = [m.split(b"Subject: ")[1].split(b"\r\n")[0] for m in imap_all(session).values()]
    session.logout()
    return found


def send(mail, recipient, subject, sender="stranger@far.example"):
    with smtp(mail, "smtp", "clear") as session:
        send_raw(session, sender, [recipient], LETTER % subject)


# --- domains, accounts, aliases -----------------------------------------------------------------
def test_domains(mail):
    mail.ctl("domain", "add", "second.example.test")
    names = [row["domain"] for row in mail.ctl("domain", "list")]
    assert "second.example.test" in names and "example.test" in names
    assert refused(mail, "domain", "add", "second.example.test") == "exists"
    assert refused(mail, "domain", "add", "not a domain") == "invalid"
    mail.ctl("domain", "remove", "second.example.test")
    assert refused(mail, "domain", "remove", "second.example.test") == "not-found"
    with smtp(mail, "smtp", "clear") as session:
        session.mail("a@far.example")
        assert session.rcpt("x@second.example.test")[0] in (550, 554)


def test_account_life(mail):
    mail.add_account("temp@example.test")
    assert refused(mail, "account", "add", "temp@example.test", "--password-stdin",
                   secret=PASSWORD) == "exists"
    rows = {row["address"]: row for row in mail.ctl("account", "list")}
    assert {"temp@example.test", ALICE, BOB} <= set(rows)
    send(mail, "temp@example.test", b"first")
    mail.wait_for(lambda: subjects(mail, "temp@example.test") == [b"first"])

    mail.ctl("account", "password", "temp@example.test", "--password-stdin", secret="another pw 1")
    with pytest.raises(poplib.error_proto):
        pop3(mail, login="temp@example.test")
    assert subjects(mail, "temp@example.test", "another pw 1") == [b"first"]

    mail.ctl("account", "disable", "temp@example.test")
    with pytest.raises(Exception, match="AUTHENTICATIONFAILED"):
        subjects(mail, "temp@example.test", "another pw 1")
    mail.ctl("account", "enable", "temp@example.test")
    assert subjects(mail, "temp@example.test", "another pw 1") == [b"first"]

    mail.ctl("account", "remove", "temp@example.test")
    assert refused(mail, "account", "show", "temp@example.test") == "not-found"
    with smtp(mail, "smtp", "clear") as session:
        session.mail("a@far.example")
        assert session.rcpt("temp@example.test")[0] == 550
    # A new account under the old address begins empty.
    mail.wait_for(lambda: mail.run_ctl("account", "add", "temp@example.test", "--password-stdin",
                                       secret=PASSWORD).returncode == 0)
    assert subjects(mail, "temp@example.test") == []


def test_passwords_are_never_words(mail):
    assert refused(mail, "account", "add", "x@example.test", "secret", code=2) == "invalid"
    assert refused(mail, "account", "add", "x@example.test", "--password-stdin", secret="") \
        in ("invalid", "io")
    log = mail.log_text()
    assert PASSWORD not in log and "another pw 1" not in log


def test_aliases(mail):
    mail.ctl("alias", "add", "team@example.test", ALICE, BOB)
    mail.ctl("alias", "add", "chief@example.test", "team@example.test")
    aliases = {row["alias"]: row for row in mail.ctl("alias", "list")}
    assert {"team@example.test", "chief@example.test"} <= set(aliases)
    send(mail, "Chief@Example.Test", b"to all")
    for login in (ALICE, BOB):
        mail.wait_for(lambda who=login: b"to all" in subjects(mail, who))
        assert subjects(mail, login).count(b"to all") == 1
    assert refused(mail, "alias", "add", "team@example.test", "nobody@example.test") in (
        "invalid", "not-found", "exists")
    mail.ctl("alias", "remove", "chief@example.test")
    with smtp(mail, "smtp", "clear") as session:
        session.mail("a@far.example")
        assert session.rcpt("chief@example.test")[0] == 550


def test_loops_of_aliases(mail):
    """One that would send mail round in circles is refused, or harmless."""
    mail.ctl("alias", "add", "one@example.test", ALICE)
    mail.ctl("alias", "add", "two@example.test", "one@example.test")
    mail.run_ctl("alias", "add", "one@example.test", "two@example.test")
    send(mail, "two@example.test", b"round")
    mail.wait_for(lambda: b"round" in subjects(mail, ALICE))
    assert subjects(mail, ALICE).count(b"round") == 1


# --- what people type wrong ---------------------------------------------------------------------
def test_wrong_words_say_what_is_expected(mail):
    for words, expected in (
            (("nonsense",), b'no such command: \\"nonsense\\"'),
            (("domain", "foo"), b"domain: expected one of add, remove, list"),
            (("audit",), b"audit: expected one of list"),
            (("diff", "x"), b'"usage: diff"'),
            (("cert", "foo"), b"rollback"),
            (("unset", "smtp.no_such"), b"smtp.no_such"),
            (("get", "smtp.no_such"), b"no such setting: smtp.no_such")):
        done = mail.run_ctl(*words)
        assert done.returncode == 1 and expected in done.stdout, (words, done.stdout)
    done = mail.run_ctl("account", "add", "nobody@example.test")
    assert done.returncode == 2 and b"--password-stdin" in done.stdout
    assert mail.run_ctl("--hlep").returncode == 2
    assert b"usage: mailsteadctl" in mail.run_ctl("--help").stdout
    assert mail.run_ctl("--version").stdout.startswith(b"mailsteadctl ")


# --- settings -----------------------------------------------------------------------------------
def test_settings(mail):
    assert mail.ctl("get", "smtp.recipients_max")[0]["value"] == "1000"
    mail.ctl("set", "smtp.recipients_max", "150")
    row = mail.ctl("get", "smtp.recipients_max")[0]
    assert row["value"] == "150" and row["origin"].endswith("settings.conf")
    with smtp(mail, "smtp", "clear") as session:
        assert "RCPTMAX=150" in session.esmtp_features["limits"]
        session.mail("a@far.example")
        codes = [session.rcpt(f"alice+{i}@example.test")[0] for i in range(151)]
    assert codes == [250] * 150 + [452]
    mail.ctl("unset", "smtp.recipients_max")
    assert mail.ctl("get", "smtp.recipients_max")[0]["value"] == "1000"
    assert refused(mail, "set", "smtp.recipients_max", "5") == "invalid"
    assert refused(mail, "set", "smtp.no_such", "5") == "invalid"
    assert refused(mail, "set", "server.hostname", "other.example") == "denied"  # in our file


def test_other_verbs(mail):
    status = mail.ctl("status")
    assert {row.get("process") for row in status} >= {"smtpd-receive", "smtpd-local",
                                                      "imapd-worker", "pop3d-worker"}
    assert any(row.get("listener") == "imaps" and row["bound"] for row in status)
    assert mail.ctl("ping") is not None
    verbs = json.dumps(mail.ctl("help"))
    assert "account add" in verbs and "queue list" in verbs
    assert any("account add" in str(row) for row in mail.ctl("audit", "list"))
    mail.ctl("reload")
    assert refused(mail, "no", "such", "verb") in ("invalid", "unsupported", "not-found", "denied")
    assert refused(mail, "account", "show") == "invalid"


def test_queue(mail):
    with smtp(mail, "submissions", "implicit", login=ALICE) as session:
        send_raw(session, ALICE, ["x@far.example", "y@far.example"], LETTER % b"far")
    rows = [row for row in mail.ctl("queue", "list") if "far.example" in str(row)]
    assert rows, mail.ctl("queue", "list")
    number = rows[0]["id"]
    assert number in json.dumps(mail.ctl("queue", "show", number))
    mail.ctl("queue", "delete", number)
    assert not [row for row in mail.ctl("queue", "list") if row.get("id") == number]
    assert refused(mail, "queue", "show", "0000000000000001") == "not-found"
    assert refused(mail, "queue", "show", "../../etc") == "invalid"


def test_without_json(mail):
    """Tables for people; errors on the other stream, with a status."""
    done = subprocess.run([f"{BIN}/mailsteadctl", "-c", mail.conf, "account", "list"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True, timeout=60)
    assert done.stdout.split()[0].isupper() and ALICE.encode() in done.stdout
    head, *rows = done.stdout.decode().splitlines()
    row = next(row for row in rows if ALICE in row)
    assert row[head.index("QUOTA"):].split()[0] == "none", row
    done = subprocess.run([f"{BIN}/mailsteadctl", "-c", mail.conf, "account", "show", "no@where"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == 1 and not done.stdout and done.stderr.startswith(b"mailsteadctl: ")


# --- wrong configurations -----------------------------------------------------------------------
@pytest.mark.parametrize("lines,want", (
    ("smtp.recipients_max = 5", ':1: smtp.recipients_max: found "5", expected a number from 100'),
    ("smtp.recipient_max = 500", ':1: found "smtp.recipient_max", expected the name of a setting'),
    ("hello", ':1: found "hello", expected name = value'),
    ("\nlog.level = loud", ':2: log.level: found "loud", expected debug info warning error'),
    ("log.level = info\nlog.level = info", ':2: found "log.level" again, expected it once'),
    ('address.separator = "', ':1: address.separator: found ", expected a closing quote'),
    ("listener.smtp.port = 70000", ':1: listener.smtp.port: found "70000", expected a number'),
    ("listener.x.tls = ssl", ':1: listener.x.tls: found "ssl", expected none offered'),
    ("listener.imap.port = 25", ":1: listener.imap.port: found 25, expected a port"),
    ("paths.state = here", ':1: paths.state: found "here", expected an absolute path')))
def test_wrong_configuration(tmp_path, lines, want):
    conf = tmp_path / "mailstead.conf"
    conf.write_text(lines + "\n")
    for words in (("run",), ("config", "check")):
        done = subprocess.run([f"{BIN}/mailsteadctl", "-c", str(conf), *words],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                              timeout=60)
        assert done.returncode == 1, done.stdout
        assert (str(conf) + want).encode() in done.stdout, done.stdout


def test_no_configuration(tmp_path):
    done = run(f"{BIN}/mailsteadctl", "-c", str(tmp_path / "none"), "run", check=False)
    assert done.returncode == 1 and b"No such file" in done.stdout


def test_configuration_files_that_ship():
    """The commented sample, and the one that quickstart would read."""
    run(f"{BIN}/mailsteadctl", "-c", f"{ROOT}/etc/mailstead.conf", "config", "check")


def test_not_running(tmp_path):
    conf = tmp_path / "mailstead.conf"
    conf.write_text(f"paths.run = {tmp_path}/run\npaths.state = {tmp_path}\n")
    done = run(f"{BIN}/mailsteadctl", "-c", str(conf), "status", check=False)
    assert done.returncode == 3 and b"does not seem to run" in done.stdout


def test_what_was_done_is_said(mail):
    def said(*words):
        done = subprocess.run([f"{BIN}/mailsteadctl", "-c", mail.conf, *words], check=True,
                              stdout=subprocess.PIPE, timeout=60)
        return done.stdout.decode()
    assert said("set", "smtp.received_max", "52") == 'smtp.received_max is "52" now\n'
    lines = said("get", "smtp.received_max").split("\n")
    assert lines[0].startswith("smtp.received_max = 52   # ") and lines[1]
    assert said("unset", "smtp.received_max") == "smtp.received_max has its default again\n"
    assert said("get", "smtp.received_max").split("\n")[0] == "smtp.received_max = 50"
    assert said("confirm", "status") == "no change waits to be confirmed\n"


def test_a_password_is_typed_unseen(mail):
    ours, theirs = pty.openpty()
    typing = subprocess.Popen([f"{BIN}/mailsteadctl", "-c", mail.conf, "account", "add",
                               "typed@example.test", "--password-stdin"],
                              stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while not seen.endswith(b"Password: "):
        seen += os.read(ours, 100)
    os.write(ours, PASSWORD.encode() + b"\n")
    try:
        while more := os.read(ours, 1000):
            seen += more
    except OSError:
        pass  # EIO: the other side is closed
    os.close(ours)
    assert typing.wait() == 0, seen
    assert PASSWORD.encode() not in seen and b"typed@example.test added" in seen
    assert pop3(mail, login="typed@example.test").stat()[0] == 0
