"""STORE and EXPUNGE: flags, keywords, conditions, and what other sessions hear."""
import pytest

from imap import fetched
from imap_account import MESSAGE, fill, status


@pytest.fixture
def c(imap_account):
    session = imap_account.open()
    session.ok("CREATE box")
    for _ in range(5):
        session.append("box", MESSAGE)
    session.ok("SELECT box")
    return session


def flags(session, numbers="1:*"):
    return {n: {x for x in v["FLAGS"] if x != b"\\Recent"}
            for n, v in session.fetch(numbers, "FLAGS").items()}


def test_set_add_remove(c):
    answer = c.ok("STORE 1:2 FLAGS (\\Seen \\Flagged)")
    told = fetched(answer)
    assert set(told) == {1, 2} and {b"\\Seen", b"\\Flagged"} <= set(told[1]["FLAGS"])
    c.ok("STORE 2 +FLAGS (\\Answered)")
    c.ok("STORE 1,2 -FLAGS \\Flagged")
    c.ok("STORE 3 flags.silent \\Draft \\Deleted")
    assert flags(c) == {1: {b"\\Seen"}, 2: {b"\\Seen", b"\\Answered"},
                        3: {b"\\Draft", b"\\Deleted"}, 4: set(), 5: set()}
    c.ok("STORE * +FLAGS (\\Recent)")
    c.ok("STORE 1:* FLAGS ()")
    assert set(map(frozenset, flags(c).values())) == {frozenset()}


def test_told_though_it_made_no_difference(c):
    c.ok("STORE 1 +FLAGS (\\Seen)")
    assert b"\\Seen" in fetched(c.ok("STORE 1 +FLAGS (\\Seen)"))[1]["FLAGS"]
    assert fetched(c.ok("STORE 1 +FLAGS.SILENT (\\Seen)")) == {}
    assert set(fetched(c.ok("UID STORE 2:3 FLAGS (\\Seen)"))[2]) >= {"UID", "FLAGS"}


def test_keywords(c):
    answer = c.ok("STORE 1 +FLAGS ($Forwarded Work)")
    assert any(b"$Forwarded" in x for x in answer.lines("FLAGS"))
    c.ok("STORE 2 +FLAGS (work)")
    assert flags(c)[2] == {b"Work"}
    c.ok("STORE 1 -FLAGS (WORK unknown)")
    assert flags(c)[1] == {b"$Forwarded"}
    for n in range(62):
        c.ok(f"STORE 3 +FLAGS.SILENT (kw{n})")
    answer = c.run("STORE 4 +FLAGS (onemore)")
    assert answer.status == "NO" and answer.text.startswith(b"[LIMIT]")
    assert flags(c)[4] == set() and len(flags(c)[3]) == 62
    # None is left: the client hears that it cannot make any.
    assert b"\\*" not in [x for x in c.ok("SELECT box").untagged if b"PERMANENTFLAGS" in x][0]


def test_syntax(c):
    for bad in ("STORE", "STORE 1", "STORE 1 FLAGS", "STORE 0 FLAGS (\\Seen)", "STORE 1 FLAGS (",
                "STORE 6 FLAGS (\\Seen)", "STORE 1:6 FLAGS (\\Seen)", "STORE a FLAGS (\\Seen)",
                "STORE 1 FLAG (\\Seen)", "STORE 1 *FLAGS (\\Seen)", "STORE 1 FLAGS (\\Other)",
                "STORE 1 FLAGS.LOUD (\\Seen)", "STORE 1 FLAGS (\\Seen) x", "STORE 1 FLAGS (a(b)",
                "STORE 1 (UNCHANGEDSINCE) FLAGS (\\Seen)", "STORE 1 (OTHER 1) FLAGS (\\Seen)",
                "STORE 1 (UNCHANGEDSINCE 99999999999999999999) FLAGS (\\Seen)"):
        assert c.run(bad).status == "BAD", bad
        c.bad = 0
    assert c.ok("UID STORE 7:9 +FLAGS (\\Seen)").untagged == []
    assert set(map(frozenset, flags(c).values())) == {frozenset()}


def test_read_only(imap_account, c):
    other = imap_account.open()
    other.ok("EXAMINE box")
    for command in ("STORE 1 +FLAGS (\\Seen)", "UID STORE 1 +FLAGS (\\Seen)", "EXPUNGE",
                    "UID EXPUNGE 1", "MOVE 1 INBOX", "UID MOVE 1 INBOX"):
        answer = other.run(command)
        assert answer.status == "NO", command
    other.ok("COPY 1 INBOX")
    assert flags(c)[1] == set()


def test_unchangedsince(imap_account, c):
    other = imap_account.open("box")
    first = int(c.fetch(1, "MODSEQ")[1]["MODSEQ"][0])
    other.ok("STORE 2:3 +FLAGS (\\Flagged)")
    highest = status(other, "box", "HIGHESTMODSEQ")["HIGHESTMODSEQ"]
    last = int(c.fetch(5, "MODSEQ")[5]["MODSEQ"][0])
    answer = c.run(f"STORE 1:5 (UNCHANGEDSINCE {last}) +FLAGS.SILENT (\\Seen)")
    assert answer.status == "OK" and answer.text.startswith(b"[MODIFIED 2:3]")
    # Even a silent one tells the new numbers (RFC 7162 section 3.1.3).
    told = fetched(answer)
    assert all(int(told[n]["MODSEQ"][0]) > highest for n in (1, 4, 5))
    assert flags(c) == {1: {b"\\Seen"}, 2: {b"\\Flagged"}, 3: {b"\\Flagged"}, 4: {b"\\Seen"},
                        5: {b"\\Seen"}}
    # A mark that another session set and took back: a MODSEQ without flags would look like the
    # silent change's own.
    other.ok("STORE 3 +FLAGS (\\Answered)")
    other.ok("STORE 3 -FLAGS (\\Answered)")
    answer = c.run(f"STORE 1:5 (UNCHANGEDSINCE {last}) +FLAGS.SILENT (\\Draft)")
    assert answer.text.startswith(b"[MODIFIED 1:5]")
    assert set(fetched(answer)[3]["FLAGS"]) - {b"\\Recent"} == {b"\\Flagged"}
    answer = c.run(f"UID STORE 1:* (UNCHANGEDSINCE {first}) FLAGS ()")
    assert answer.text.startswith(b"[MODIFIED 1:5]")
    answer = c.run("STORE 1 (UNCHANGEDSINCE 0) +FLAGS (\\Draft)")
    assert answer.text.startswith(b"[MODIFIED 1]")
    # Numbers of MODIFIED are of the kind the command used.
    c.ok("STORE 1 +FLAGS (\\Deleted)")
    c.ok("EXPUNGE")
    now = status(c, "box", "HIGHESTMODSEQ")["HIGHESTMODSEQ"]
    c.ok("UID STORE 3 +FLAGS (\\Answered)")
    assert c.run(f"STORE 1:* (UNCHANGEDSINCE {now}) +FLAGS (x)").text.startswith(b"[MODIFIED 2]")
    now = status(c, "box", "HIGHESTMODSEQ")["HIGHESTMODSEQ"]
    c.ok("UID STORE 3 -FLAGS (\\Answered)")
    answer = c.run(f"UID STORE 1:* (UNCHANGEDSINCE {now}) +FLAGS (y)")
    assert answer.text.startswith(b"[MODIFIED 3]")


def test_other_sessions_hear_it(imap_account, c):
    other = imap_account.open("box")
    c.ok("STORE 2 +FLAGS (\\Flagged new)")
    told = other.ok("NOOP")
    assert {b"\\Flagged", b"new"} <= set(fetched(told)[2]["FLAGS"])
    assert any(b"new" in x for x in told.lines("FLAGS"))
    # Numbers do not move under a command that names messages by them.
    c.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    c.ok("EXPUNGE")
    assert not any(x.endswith(b"EXPUNGE") for x in other.ok("STORE 2 -FLAGS (new)").untagged)
    assert flags(other, 2)[2] == {b"\\Flagged"}
    assert b"1 EXPUNGE" in other.ok("NOOP").untagged
    assert flags(other)[1] == {b"\\Flagged"}


def test_store_on_messages_that_have_gone(imap_account, c):
    other = imap_account.open("box")
    other.ok("STORE 2:3 +FLAGS.SILENT (\\Deleted)")
    other.ok("EXPUNGE")
    assert c.ok("STORE 1:4 +FLAGS.SILENT (\\Seen)").status == "OK"
    assert status(other, "box", "UNSEEN", "MESSAGES") == {"UNSEEN": 1, "MESSAGES": 3}


def test_expunge(imap_account, c):
    other = imap_account.open("box")
    c.ok("STORE 1,3,5 +FLAGS.SILENT (\\Deleted)")
    answer = c.ok("EXPUNGE")
    assert [x for x in answer.untagged if x.endswith(b"EXPUNGE")] in (
        [b"1 EXPUNGE", b"2 EXPUNGE", b"3 EXPUNGE"], [b"5 EXPUNGE", b"3 EXPUNGE", b"1 EXPUNGE"])
    assert sorted(int(v["UID"]) for v in c.fetch("1:*", "UID").values()) == [2, 4]
    other.ok("NOOP")
    assert sorted(int(v["UID"]) for v in other.fetch("1:*", "UID").values()) == [2, 4]
    assert c.ok("EXPUNGE").untagged == []
    assert c.run("EXPUNGE 1").status == "BAD"


def test_uid_expunge(c):
    c.ok("STORE 1:4 +FLAGS.SILENT (\\Deleted)")
    answer = c.ok("UID EXPUNGE 2:3,5,99")
    assert len([x for x in answer.untagged if x.endswith(b"EXPUNGE")]) == 2
    assert sorted(int(v["UID"]) for v in c.fetch("1:*", "UID").values()) == [1, 4, 5]
    for bad in ("UID EXPUNGE", "UID EXPUNGE x", "UID EXPUNGE 0", "UID EXPUNGE 1 2"):
        assert c.run(bad).status == "BAD", bad
    c.ok("ENABLE QRESYNC")
    answer = c.ok("UID EXPUNGE 1")
    assert answer.text.startswith(b"[HIGHESTMODSEQ ")
    assert answer.lines("VANISHED") == [b"VANISHED 1"]


def test_many_ranges(imap_account):
    """Every second message of many, by number and by UID."""
    c = imap_account.open()
    c.ok("CREATE many")
    one = b" {%d+}\r\n" % len(MESSAGE) + MESSAGE
    c.send(b"m APPEND many" + one * 900 + b"\r\n")
    assert c.read_line().startswith(b"m OK")
    c.ok("SELECT many")
    odd = ",".join(str(n) for n in range(1, 900, 2))
    c.ok(f"STORE {odd} +FLAGS.SILENT (\\Seen)")
    assert c.search("UNSEEN") == list(range(2, 901, 2))
    c.ok(f"UID STORE {odd} +FLAGS.SILENT (\\Deleted)")
    c.ok("EXPUNGE")
    assert c.search("ALL", uid=True) == list(range(2, 901, 2))
    assert c.run("STORE " + ",".join(["1"] * 10001) + " +FLAGS (\\Seen)").status == "BAD"
