"""Accounts that are removed: restorable for a time, then gone with all they had, whatever is killed
meanwhile."""
import os
import random
import smtplib
import struct
import tempfile
import threading

import pytest

from appliance import PASSWORD, Appliance
from clients import send_raw, smtp
from imap import Imap
from imap_account import ImapAccount

DAY = 86400
KILLS = int(os.environ.get("MS_KILLS", "3"))


@pytest.fixture(scope="module")
def box():
    handle, clock = tempfile.mkstemp(prefix="mailstead-clock-")
    os.write(handle, struct.pack("=q", 0))
    os.close(handle)
    os.chmod(clock, 0o644)
    made = Appliance(settings={"store.inline_max": "1K", "retry.schedule": "1h"},
                     env={"MAILSTEAD_CLOCK": clock})
    with made:
        yield made
    os.unlink(clock)


@pytest.fixture
def account(box):
    made = ImapAccount(box)
    yield made
    made.close()


def fill(session, count, size=3000):
    """Bodies in files, and one that is not."""
    for i in range(count):
        text = bytes(random.Random(i).choices(b"abcdefghijklmnopqrstuvwxyz", k=size))
        session.append("INBOX", b"Subject: %d\r\n\r\n" % i + text, "")
    session.append("INBOX", b"Subject: small\r\n\r\nx", "")


def removed(box, address):
    return [r for r in box.ctl("account", "list", "--removed") if r["address"] == address]


def refused(box, *words):
    """What it says; it must not work."""
    done = box.run_ctl(*words)
    assert done.returncode != 0, words
    return (done.stdout + done.stderr).decode()


def rcpt(box, address):
    with smtp(box, "smtp", "plain") as session:
        session.ehlo("client.example")
        session.mail("x@sender.example")
        return session.rcpt(address)[0]


def may_log_in(box, address, password=PASSWORD):
    session = Imap(box.connect("imaps"))
    answer = session.run(f'LOGIN {address} "{password}"')
    session.close()
    return answer.status == "OK"


def test_removed_and_restored(box, account):
    session, idle = account.open("INBOX"), account.open("INBOX")
    fill(session, 3)
    idle.start("IDLE")
    password = box.ctl("app-password", "add", account.address, "phone")[0]["password"]
    for alias, targets in (("only", [account.address]), ("chain", ["only@example.test"]),
                           ("both", [account.address, "bob@example.test"])):
        box.ctl("alias", "add", f"{alias}@example.test", *targets)
    answer = box.ctl("account", "remove", account.address)["text"]
    assert "can be restored for 14 days" in answer, answer
    assert "led only to it and are gone: 2" in answer and "elsewhere still: 1" in answer
    # Whoever was there is told, and out.
    lines = []
    while not lines or b"BYE" not in lines[-1]:
        lines.append(idle.read_line())
    with pytest.raises((OSError, EOFError)):
        session.ok("NOOP")
        session.ok("NOOP")
    assert not may_log_in(box, account.address)
    assert not may_log_in(box, account.address, password)
    assert rcpt(box, account.address) == rcpt(box, "only@example.test") == 550
    assert rcpt(box, "chain@example.test") == 550 and rcpt(box, "both@example.test") == 250
    [row] = removed(box, account.address)
    assert row["state"] == "restorable" and row["goes"] - row["removed"] == 14 * DAY
    assert account.address not in [r["address"] for r in box.ctl("account", "list")]
    assert "all well" in box.ctl("check")["text"]

    answer = box.ctl("account", "restore", account.address)["text"]
    assert "again: 3, that do not: 0" in answer, answer
    assert removed(box, account.address) == []
    session = account.open("INBOX")
    assert len(session.fetch("1:*", "(UID)")) == 4
    assert may_log_in(box, account.address, password)
    assert rcpt(box, "chain@example.test") == rcpt(box, "only@example.test") == 250
    both = [r for r in box.ctl("alias", "list") if "both@example.test" in r.values()]
    assert account.address in str(both) and "bob@example.test" in str(both)
    words = [(r["command"], r["result"]) for r in box.ctl("audit", "list", "20")]
    assert (f"account remove {account.address}", "ok") in words
    assert (f"account restore {account.address}", "ok") in words


def test_an_address_that_somebody_has_again(box, account):
    fill(account.open(), 1)
    box.ctl("account", "remove", account.address)
    box.add_account(account.address)
    new = account.open("INBOX")
    assert new.search("ALL") == []
    assert f"there is an account {account.address}" in refused(
        box, "account", "restore", account.address)
    box.ctl("account", "remove", account.address)
    assert "give the number" in refused(box, "account", "restore", account.address)
    assert "give the number" in refused(box, "account", "remove", account.address, "--now")
    first, second = removed(box, account.address)
    box.ctl("account", "restore", str(first["number"]), f"old-{account.address}")
    assert may_log_in(box, f"old-{account.address}")
    box.ctl("account", "restore", account.address)
    assert may_log_in(box, account.address)
    assert "no such account was removed" in refused(
        box, "account", "restore", "nobody@example.test")


def test_a_number_means_the_removed_one_whoever_has_its_address(box, account):
    box.ctl("account", "remove", account.address)
    box.add_account(account.address)
    [old] = removed(box, account.address)
    answer = box.ctl("account", "remove", str(old["number"]), "--now")["text"]
    assert "for good" in answer, answer
    assert may_log_in(box, account.address)


def test_disabled_and_kicked(box, account):
    session = account.open("INBOX")
    pop = box.connect("pop3s").makefile("rwb", buffering=0)
    pop.readline()
    for line in (f"USER {account.address}", f"PASS {PASSWORD}"):
        pop.write(line.encode() + b"\r\n")
        pop.readline()
    sender = smtp(box, "submissions", "implicit", account.address)
    box.ctl("account", "kick", account.address)
    assert b"BYE The administrator has ended this session" in session.read_line()
    assert b"-ERR [AUTH] The administrator has ended this session" in pop.readline()
    with pytest.raises((smtplib.SMTPServerDisconnected, OSError)):
        assert sender.noop()[0] == 421
        sender.noop()
    session = account.open("INBOX")
    box.ctl("account", "disable", account.address)
    assert b"BYE" in session.read_line()
    assert not may_log_in(box, account.address)


def test_now_takes_what_waits_in_the_queue(box, account):
    box.ctl("queue", "pause")
    for login in (account.address, "bob@example.test"):
        with smtp(box, "submissions", "implicit", login) as session:
            send_raw(session, login, ["far@away.invalid", "alice@example.test"],
                     b"Subject: x\r\n\r\nx\r\n")
    box.wait_for(lambda: len(box.ctl("queue", "list")) == 2)
    answer = box.ctl("account", "remove", account.address, "--now")["text"]
    assert "being removed, for good" in answer
    box.wait_for(lambda: not removed(box, account.address))
    assert [r["sender"] for r in box.ctl("queue", "list")] == ["bob@example.test"]
    box.ctl("queue", "delete", "all")
    box.ctl("queue", "resume")


def test_the_time_for_undelete_is_over(box, account):
    fill(account.open(), 1)
    box.ctl("account", "remove", account.address)
    number = removed(box, account.address)[0]["number"]
    assert box.run_ctl("clock", "advance", str(14 * DAY + 60)).returncode == 0
    box.ctl("reload")
    box.wait_for(lambda: not removed(box, account.address))
    assert "no such account was removed" in refused(box, "account", "restore", str(number))
    results = [r["result"] for r in box.ctl("audit", "list", "20")
               if r["command"] == f"account remove {account.address}" and r["who"] == "authd"]
    assert results == ["the time for undelete is over: its mail is being removed",
                       "ok: its mail is removed"]


@pytest.mark.parametrize("program", ["authd", "smtpd-local"])
def test_killed_at_any_point(box, program):
    """Again and again, each time an account goes; nothing of it is left, others have all of theirs.
    """
    dice, other = random.Random(program), ImapAccount(box)
    fill(other.open(), 2)
    rest = box.ctl("check", "--bodies")["text"]
    for _ in range(KILLS):
        account = ImapAccount(box)
        session = account.open()
        fill(session, 60)
        session.ok("SELECT INBOX")
        for _ in range(20):
            session.ok("COPY 1:* Archive")
        session.ok("STORE 1:30 +FLAGS.SILENT (\\Deleted)")
        session.ok("EXPUNGE")
        account.close()
        assert box.ctl("check", "--bodies")["text"] != rest
        number = box.ctl("account", "show", account.address)[0]["number"]
        box.ctl("account", "remove", account.address)
        box.ctl("account", "remove", account.address, "--now")
        # That takes some milliseconds: the moment is luck, and each is a good one.
        threading.Event().wait(dice.random() * 0.05)
        old = box.kill(program)
        assert "all well" in box.ctl("check")["text"]
        box.wait_for(lambda: box.pids().get(program, old) != old)
        box.wait_for(lambda: box.run_ctl("ping").returncode == 0)
        box.wait_for(lambda: not removed(box, account.address))
        assert "no such account was removed" in refused(box, "account", "restore", str(number))
        # Exactly what there was before it.
        assert box.ctl("check", "--bodies")["text"] == rest
    assert len(other.open("INBOX").fetch("1:*", "(UID)")) == 3
    other.close()
