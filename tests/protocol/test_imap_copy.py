"""COPY and MOVE: what arrives, what goes, what is told in which order."""
import re

import pytest

from imap_account import MESSAGE, fill, status


@pytest.fixture
def c(imap_account):
    session = imap_account.open()
    session.ok("CREATE from")
    session.ok("CREATE to")
    for n in range(6):
        session.append("from", b"Subject: %d\r\n\r\nbody %d\r\n" % (n, n), f"\\Seen k{n}",
                       "17-Jul-1996 02:44:25 +0000")
    session.ok("SELECT from")
    return session


def copyuid(text):
    found = re.search(rb"\[COPYUID (\d+) ([\d,:]+) ([\d,:]+)\]", text)
    return found and (int(found.group(1)), found.group(2), found.group(3))


def uids(session):
    return [int(v["UID"]) for v in session.fetch("1:*", "UID").values()]


def test_copy(c):
    answer = c.ok("COPY 2:3,6 to")
    validity = status(c, "to", "UIDVALIDITY")["UIDVALIDITY"]
    assert copyuid(answer.text) == (validity, b"2:3,6", b"1:3")
    answer = c.ok("UID COPY 1,5,77:99 to")
    assert copyuid(answer.text) == (validity, b"1,5", b"4:5")
    assert uids(c) == [1, 2, 3, 4, 5, 6]
    c.ok("SELECT to")
    got = c.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")
    assert [got[n]["BODY[]"] for n in range(1, 6)] == [
        b"Subject: %d\r\n\r\nbody %d\r\n" % (n, n) for n in (1, 2, 5, 0, 4)]
    assert {b"\\Seen", b"k5"} <= set(got[3]["FLAGS"])
    assert got[1]["INTERNALDATE"] == b"17-Jul-1996 02:44:25 +0000"


def test_nothing_to_copy(c):
    answer = c.ok("UID COPY 50:60 to")
    assert copyuid(answer.text) is None
    answer = c.ok("UID MOVE 50:60 to")
    assert answer.untagged == []
    assert status(c, "to", "UIDNEXT") == {"UIDNEXT": 1}


def test_errors(c):
    for command in ("COPY 1 missing", "UID COPY 1 missing", "MOVE 1 missing", "UID MOVE 1 missing"):
        answer = c.run(command)
        assert answer.status == "NO" and answer.text.startswith(b"[TRYCREATE]"), command
    assert c.run("COPY 1 a//b").text.startswith(b"[CANNOT]")
    for bad in ("COPY", "COPY 1", "COPY 0 to", "COPY 7 to", "COPY 1:7 to", "COPY x to", "MOVE 7 to",
                "COPY 1 to x", "COPY 1  to"):
        assert c.run(bad).status == "BAD", bad
    assert uids(c) == [1, 2, 3, 4, 5, 6]


def test_copy_into_the_same_mailbox(c):
    answer = c.ok("COPY 1:2 from")
    assert copyuid(answer.text)[1:] == (b"1:2", b"7:8")
    assert b"8 EXISTS" in answer.untagged
    assert uids(c) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_move(imap_account, c):
    other = imap_account.open("from")
    target = imap_account.open("to")
    answer = c.ok("MOVE 2,4 to")
    # COPYUID comes before the messages go (RFC 6851 section 4.3).
    assert copyuid(answer.untagged[0])[1:] == (b"2,4", b"1:2")
    expunged = [x for x in answer.untagged if x.endswith(b"EXPUNGE")]
    assert expunged in ([b"2 EXPUNGE", b"3 EXPUNGE"], [b"4 EXPUNGE", b"2 EXPUNGE"])
    assert copyuid(answer.text) is None
    assert uids(c) == [1, 3, 5, 6]
    other.ok("NOOP")
    assert uids(other) == [1, 3, 5, 6]
    assert b"2 EXISTS" in target.ok("NOOP").untagged
    answer = c.ok("UID MOVE 1:3 to")
    assert copyuid(answer.untagged[0])[1:] == (b"1,3", b"3:4")
    got = target.ok("NOOP")
    assert b"4 EXISTS" in got.untagged
    assert target.fetch(4, "BODY.PEEK[TEXT]")[4]["BODY[TEXT]"] == b"body 2\r\n"


def test_move_within_a_mailbox(c):
    answer = c.ok("MOVE 1:2 from")
    assert copyuid(answer.untagged[0])[1:] == (b"1:2", b"7:8")
    assert uids(c) == [3, 4, 5, 6, 7, 8]


def test_move_with_qresync(c):
    c.ok("ENABLE QRESYNC")
    answer = c.ok("MOVE 1,3 to")
    assert copyuid(answer.untagged[0])[1:] == (b"1,3", b"1:2")
    assert answer.lines("VANISHED") == [b"VANISHED 1,3"]


def test_messages_that_have_gone(imap_account, c):
    """Numbers name what the client sees: all of it is copied, or none (RFC 2180 section 4.4)."""
    other = imap_account.open("from")
    other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
    other.ok("EXPUNGE")
    answer = c.run("COPY 1:3 to")
    assert answer.status == "NO" and answer.text.startswith(b"[EXPUNGEISSUED]")
    assert b"2 EXPUNGE" in answer.untagged
    assert status(other, "to", "MESSAGES") == {"MESSAGES": 0}
    other.ok("UID STORE 3 +FLAGS.SILENT (\\Deleted)")
    other.ok("EXPUNGE")
    answer = c.ok("UID COPY 1:4 to")
    assert copyuid(answer.text)[1] == b"1,4"


def test_keywords_beyond_the_limit_of_the_target(c):
    """A copy is made even if its keywords find no room."""
    for n in range(8):
        c.append("to", MESSAGE, " ".join(f"t{n * 8 + i}" for i in range(8)))
    c.ok("COPY 1 to")
    c.ok("SELECT to")
    assert {x for x in c.fetch(9, "FLAGS")[9]["FLAGS"] if x != b"\\Recent"} == {b"\\Seen"}


def test_bodies_outlive_their_source(imap_account, c):
    c.ok("COPY 1:* to")
    c.ok("STORE 1:* +FLAGS.SILENT (\\Deleted)")
    c.ok("EXPUNGE")
    c.ok("CLOSE")
    c.ok("DELETE from")
    c.ok("SELECT to")
    got = c.fetch("1:*", "BODY.PEEK[TEXT]")
    assert [v["BODY[TEXT]"] for v in got.values()] == [b"body %d\r\n" % n for n in range(6)]


def test_a_large_set(imap_account):
    c = imap_account.open()
    c.ok("CREATE a")
    c.ok("CREATE b")
    one = b" {%d+}\r\n" % len(MESSAGE) + MESSAGE
    c.send(b"m APPEND a" + one * 900 + b"\r\n")
    assert c.read_line().startswith(b"m OK")
    c.ok("SELECT a")
    odd = ",".join(str(n) for n in range(1, 900, 2))
    answer = c.ok(f"UID MOVE {odd} b")
    assert copyuid(answer.untagged[0])[1:] == (odd.encode(), b"1:450")
    assert uids(c) == list(range(2, 901, 2))
    assert status(c, "b", "MESSAGES", "SIZE") == {"MESSAGES": 450, "SIZE": 450 * len(MESSAGE)}
