"""CONDSTORE and QRESYNC (RFC 7162): a client that comes back is told exactly what changed."""
import re

import pytest

from imap import fetched
from imap_account import MESSAGE, fill


def code(answer, name):
    for line in answer.untagged + [answer.text]:
        found = re.search(rb"\[" + name.encode() + rb" (\d+)", line)
        if found:
            return int(found.group(1))
    return None


def uids(text):
    """The members of a UID set."""
    found = set()
    for part in text.decode().split(","):
        first, _, last = part.partition(":")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def vanished(answer, earlier=False):
    found = set()
    for line in answer.lines("VANISHED"):
        rest = line[len(b"VANISHED "):]
        assert rest.startswith(b"(EARLIER) ") == earlier, line
        found |= uids(rest.replace(b"(EARLIER) ", b""))
    return found


@pytest.fixture
def c(imap_account):
    return imap_account.open("INBOX")


# --- CONDSTORE -----------------------------------------------------------------------------------
@pytest.mark.parametrize("enabling", [
    "ENABLE CONDSTORE", "SELECT INBOX (CONDSTORE)", "FETCH 1 MODSEQ", "SEARCH MODSEQ 1",
    "STATUS INBOX (HIGHESTMODSEQ)", "STORE 1 (UNCHANGEDSINCE 1) +FLAGS.SILENT (x)",
    "FETCH 1 FLAGS (CHANGEDSINCE 1)"])
def test_what_enables_condstore(imap_account, enabling):
    a, b = imap_account.open("INBOX"), imap_account.open("INBOX")
    fill(a, "INBOX", 1)
    b.ok("NOOP")
    a.ok("STORE 1 +FLAGS.SILENT (\\Seen)")
    assert b"MODSEQ" not in b"".join(b.ok("NOOP").untagged)
    b.run(enabling)
    b.ok("NOOP")
    a.ok("STORE 1 +FLAGS.SILENT (\\Flagged)")
    told = [x for x in b.ok("NOOP").untagged if b"FETCH" in x]
    assert len(told) == 1 and re.search(rb"MODSEQ \(\d+\)", told[0]), told


def test_modseq_grows_and_is_the_highest(imap_account):
    c = imap_account.open()
    fill(c, "INBOX", 3)
    c.ok("ENABLE CONDSTORE")
    last = code(c.ok("SELECT INBOX"), "HIGHESTMODSEQ")
    for change in ("STORE 1 +FLAGS (\\Seen)", "STORE 2:3 +FLAGS.SILENT (k)", "STORE 1 FLAGS ()"):
        answer = c.ok(change)
        values = [int(v["MODSEQ"][0]) for v in fetched(answer).values()]
        assert values and min(values) > last and len(set(values)) == 1
        last = values[0]
        assert code(c.ok("SELECT INBOX"), "HIGHESTMODSEQ") == last
    before = last
    c.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    c.ok("EXPUNGE")
    assert code(c.ok("SELECT INBOX"), "HIGHESTMODSEQ") > before


def test_silent_with_condstore_tells_the_modseq(c):
    fill(c, "INBOX", 1)
    c.ok("ENABLE CONDSTORE")
    answer = c.ok("STORE 1 +FLAGS.SILENT (\\Seen)")
    assert fetched(answer)[1].keys() == {"MODSEQ"}
    answer = c.ok("UID STORE 1 +FLAGS (\\Flagged)")
    assert fetched(answer)[1].keys() == {"UID", "FLAGS", "MODSEQ"}


# --- QRESYNC -------------------------------------------------------------------------------------
@pytest.fixture
def q(imap_account):
    """Ten messages; UIDVALIDITY and HIGHESTMODSEQ of a client that then goes away."""
    writer = imap_account.open()
    fill(writer, "INBOX", 10)
    answer = writer.ok("SELECT INBOX")
    c = imap_account.open()
    c.ok("ENABLE QRESYNC")
    return writer, c, code(answer, "UIDVALIDITY"), code(answer, "HIGHESTMODSEQ")


def test_enable_comes_first(c):
    assert c.run("SELECT INBOX (QRESYNC (1 1))").status == "BAD"


@pytest.mark.parametrize("bad", [
    "()", "(0 1)", "(1 0)", "(1)", "(1 1 *)", "(1 1 1:*)", "(1 1 ())", "(1 1 (1 1)", "(1 1 1 (1))",
    "(1 1 1 (2:1 1:2))", "(1 1 1 (1,1 1,2))", "(1 1 1 1)", "(4294967296 1)", "(1 1 (1:* 1:*))",
    "(1 18446744073709551616)", "(1 1) (QRESYNC (1 1))", "(1 1 1) QRESYNC (1 1)",
    "(1 1 $)", "(1 1 1 ($ 1))", "(1 1 1 (1 $))", "(1 1 ($ $))"])
def test_bad_parameters(c, bad):
    c.ok("ENABLE QRESYNC")
    assert c.run(f"SELECT INBOX (QRESYNC {bad})").status == "BAD"
    c.ok("CHECK")


def test_nothing_changed(q):
    _, c, validity, modseq = q
    answer = c.ok(f"SELECT INBOX (QRESYNC ({validity} {modseq}))")
    assert not answer.lines("VANISHED") and not fetched(answer)


def test_what_changed(q):
    writer, c, validity, modseq = q
    writer.ok("STORE 2,9 +FLAGS.SILENT (\\Seen kw)")
    writer.ok("STORE 3:4,7 +FLAGS.SILENT (\\Deleted)")
    writer.ok("EXPUNGE")
    writer.append("INBOX", MESSAGE)
    answer = c.ok(f"SELECT INBOX (QRESYNC ({validity} {modseq}))")
    assert b"8 EXISTS" in answer.untagged
    assert vanished(answer, True) == {3, 4, 7}
    found = fetched(answer)
    assert {v["UID"] for v in found.values()} == {b"2", b"9", b"11"}
    assert all(int(v["MODSEQ"][0]) > modseq for v in found.values())
    assert found[2]["FLAGS"] == [b"\\Seen", b"kw"]
    # VANISHED comes before the first FETCH.
    kinds = [x.split(b" ")[0] == b"VANISHED" for x in answer.untagged
             if x.startswith(b"VANISHED") or b" FETCH " in x]
    assert kinds == sorted(kinds, reverse=True)
    now = code(answer, "HIGHESTMODSEQ")
    answer = c.ok(f"SELECT INBOX (QRESYNC ({validity} {now}))")
    assert not answer.lines("VANISHED") and not fetched(answer)


def test_known_uids(q):
    writer, c, validity, modseq = q
    writer.ok("STORE 1:6 +FLAGS.SILENT (\\Seen)")
    writer.ok("STORE 5:6,10 +FLAGS.SILENT (\\Deleted)")
    writer.ok("EXPUNGE")
    answer = c.ok(f"EXAMINE INBOX (QRESYNC ({validity} {modseq} 2,4:5,8:9))")
    assert vanished(answer, True) == {5}
    assert {v["UID"] for v in fetched(answer).values()} == {b"2", b"4"}
    answer = c.ok(f"EXAMINE INBOX (QRESYNC ({validity} {modseq} 2,4:5,8:9 (1,3 1,3)))")
    assert vanished(answer, True) == {5}


def test_another_uidvalidity(q):
    writer, c, validity, modseq = q
    writer.ok("STORE 1 +FLAGS.SILENT (\\Seen)")
    answer = c.ok(f"SELECT INBOX (QRESYNC ({validity + 1} {modseq}))")
    assert not answer.lines("VANISHED") and not fetched(answer)


def test_a_modseq_of_the_future(q):
    _, c, validity, modseq = q
    answer = c.ok(f"SELECT INBOX (QRESYNC ({validity} {modseq + 1000000}))")
    assert not answer.lines("VANISHED") and not fetched(answer)


def test_vanished_instead_of_expunge(q):
    writer, c, _, _ = q
    c.ok("SELECT INBOX")
    writer.ok("STORE 2,3,9 +FLAGS.SILENT (\\Deleted)")
    writer.ok("EXPUNGE")
    answer = c.ok("NOOP")
    assert vanished(answer) == {2, 3, 9}
    assert not [x for x in answer.untagged if b"EXPUNGE" in x]
    assert [int(v["UID"]) for v in c.fetch("1:7", "UID").values()] == [1, 4, 5, 6, 7, 8, 10]
    c.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    answer = c.ok("EXPUNGE")
    assert vanished(answer) == {1}
    assert code(answer, "HIGHESTMODSEQ")
    c.ok("UID STORE 4 +FLAGS.SILENT (\\Deleted)")
    assert vanished(c.ok("UID EXPUNGE 4")) == {4}
    assert vanished(c.ok("UID MOVE 5 Sent")) == {5}


def test_fetch_vanished(q):
    writer, c, _, modseq = q
    c.ok("SELECT INBOX")
    writer.ok("STORE 2,3 +FLAGS.SILENT (\\Deleted)")
    writer.ok("EXPUNGE")
    writer.ok("STORE 1 +FLAGS.SILENT (\\Seen)")
    c.ok("NOOP")
    answer = c.ok(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq} VANISHED)")
    assert vanished(answer, True) == {2, 3}
    assert {v["UID"] for v in fetched(answer).values()} == {b"1"}


def test_idle_with_qresync(q):
    writer, c, _, _ = q
    c.ok("SELECT INBOX")
    c.send(b"i IDLE\r\n")
    assert c.read_line().startswith(b"+")
    writer.ok("STORE 4 +FLAGS.SILENT (\\Deleted)")
    line = c.read_line()
    assert re.fullmatch(rb"\* 4 FETCH \(UID 4 MODSEQ \(\d+\) FLAGS \(\\Deleted\)\)", line), line
    writer.ok("EXPUNGE")
    assert c.read_line() == b"* VANISHED 4"
    c.send(b"DONE\r\n")


def test_when_what_vanished_is_forgotten(imap_account):
    """More than the store remembers went: all that is absent is told, or what the pairs leave."""
    a = imap_account.open()
    a.ok("CREATE big")
    one = b" {%d+}\r\n" % len(MESSAGE) + MESSAGE
    for _ in range(21):
        a.send(b"t APPEND big" + one * 1000 + b"\r\n")
        assert a.read_line().startswith(b"t OK")
    answer = a.ok("SELECT big")
    validity, modseq = code(answer, "UIDVALIDITY"), code(answer, "HIGHESTMODSEQ")
    # Every second of the first 20,800: 10,400 ranges in one stroke, more than 10,000 rows.
    for first in (1, 10401):
        gone = ",".join(str(n) for n in range(first, first + 10400, 2))
        a.ok(f"UID STORE {gone} +FLAGS.SILENT (\\Deleted)")
    a.ok("EXPUNGE")
    c = imap_account.open()
    c.ok("ENABLE QRESYNC")
    answer = c.ok(f"SELECT big (QRESYNC ({validity} {modseq}))")
    assert b"10600 EXISTS" in answer.untagged
    assert vanished(answer, True) == set(range(1, 20801, 2))
    assert max(len(x) for x in answer.untagged) < 65536
    answer = c.ok(f"SELECT big (QRESYNC ({validity} {modseq} 1:100,20990:30000))")
    assert vanished(answer, True) == set(range(1, 101, 2))
    answer = c.ok(f"SELECT big (QRESYNC ({validity} {modseq} 1:100 (1:10 2,4,6,8,10,12,14,16,18,20)))")
    assert vanished(answer, True) == set(range(21, 101, 2))
