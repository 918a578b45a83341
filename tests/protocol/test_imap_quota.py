"""QUOTA (RFC 9208): what is told, and that nothing goes beyond it."""
import pytest

from imap_account import MESSAGE, status


@pytest.fixture
def limited(appliance, imap_account):
    """Opens a session of an account with limits in bytes and messages."""
    def make(size, messages="none"):
        appliance.ctl("account", "quota", imap_account.address, str(size), str(messages))
        return imap_account.open()
    return make


def test_no_limits(imap_account):
    c = imap_account.open()
    assert c.ok("GETQUOTAROOT INBOX").untagged == [b"QUOTAROOT INBOX"]
    assert c.run('GETQUOTA ""').text.startswith(b"[NONEXISTENT]")
    assert c.run("SETQUOTA \"\" (STORAGE 10)").text.startswith(b"[NOPERM]")
    assert c.run("GETQUOTA").status == "BAD"
    assert c.run("GETQUOTAROOT").status == "BAD"
    assert b"QUOTA=RES-STORAGE" in c.ok("CAPABILITY").lines("CAPABILITY")[0]


def test_usage(limited):
    c = limited(10240, 5)
    c.append("INBOX", b"x" * 1500)
    c.append("INBOX", b"x" * 10)
    expected = b'QUOTA "" (STORAGE 2 10 MESSAGE 2 5)'
    assert c.ok('GETQUOTA ""').untagged == [expected]
    # A mailbox that is not there has the same root.
    assert c.ok("GETQUOTAROOT not/there").untagged == [b'QUOTAROOT not/there ""', expected]
    assert c.run("GETQUOTA other").text.startswith(b"[NONEXISTENT]")
    c.ok("SELECT INBOX")
    c.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    assert status(c, "INBOX", "DELETED", "DELETED-STORAGE") == {
        "DELETED": 1, "DELETED-STORAGE": 1500}
    c.ok("EXPUNGE")
    assert c.ok('GETQUOTA ""').untagged == [b'QUOTA "" (STORAGE 1 10 MESSAGE 1 5)']


def test_bytes_end(limited):
    c = limited(4096)
    c.append("INBOX", b"x" * 3000)
    # Before the literal is sent, and when it came unasked.
    c.send(b"q APPEND INBOX {1097}\r\n")
    assert c.read_line().startswith(b"q NO [OVERQUOTA]")
    c.send(b"q APPEND INBOX {1097+}\r\n" + b"x" * 1097 + b"\r\n")
    assert c.read_line().startswith(b"q NO [OVERQUOTA]")
    # Together too much: neither.
    c.send(b"q APPEND INBOX {600+}\r\n" + b"x" * 600 + b" {600+}\r\n" + b"x" * 600 + b"\r\n")
    assert c.read_line().startswith(b"q NO [OVERQUOTA]")
    c.ok("SELECT INBOX")
    assert c.run("COPY 1 Sent").text.startswith(b"[OVERQUOTA]")
    assert status(c, "Sent", "MESSAGES") == {"MESSAGES": 0}
    # What adds nothing is always possible.
    c.ok("MOVE 1 Sent")
    c.append("INBOX", b"x" * 1096)
    c.ok("SELECT Sent")
    c.ok(("REPLACE 1 Sent ", b"y" * 2999))
    assert c.run(("REPLACE 1 Sent ", b"y" * 3001)).text.startswith(b"[OVERQUOTA]")
    assert c.fetch("1:*", "RFC822.SIZE") == {1: {"RFC822.SIZE": b"2999"}}


def test_messages_end(limited):
    c = limited("none", 2)
    c.append("INBOX", MESSAGE)
    c.append("INBOX", MESSAGE)
    assert c.run(("APPEND INBOX ", MESSAGE)).text.startswith(b"[OVERQUOTA]")
    c.ok("SELECT INBOX")
    assert c.run("COPY 1 Sent").text.startswith(b"[OVERQUOTA]")
    c.ok("MOVE 1 Sent")
    c.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    c.ok("EXPUNGE")
    c.append("INBOX", MESSAGE)
    assert c.ok('GETQUOTA ""').untagged == [b'QUOTA "" (MESSAGE 2 2)']
