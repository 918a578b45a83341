"""Several sessions on one mailbox: who is told what, when, and in which order."""
import pytest

from appliance import PASSWORD
from imap import Imap
from imap_account import MESSAGE, fill


def told(answer):
    """Untagged answers without OK lines."""
    return [x for x in answer.untagged if not x.startswith(b"OK ")]


def start_idle(c):
    tag = c.start("IDLE")
    line = c.read_line()
    while not line.startswith(b"+"):
        line = c.read_line()
    return tag


def end_idle(c, tag):
    c.send(b"DONE\r\n")
    return c.finish(tag)


@pytest.fixture
def two(imap_account):
    first = imap_account.open("INBOX")
    second = imap_account.open("INBOX")
    return first, second


# --- news at NOOP, in the order of RFC 3501 -------------------------------------------------------
def test_new_messages(two):
    a, b = two
    fill(a, "INBOX", 2)
    assert told(b.ok("NOOP")) == [b"2 EXISTS", b"0 RECENT"]
    assert told(b.ok("NOOP")) == []
    assert [int(n) for n in b.fetch("1:*", "UID")] == [1, 2]


def test_own_append_is_told_at_once(two):
    a, _ = two
    answer = a.append("INBOX", MESSAGE)
    assert told(answer)[0] == b"1 EXISTS"


def test_expunges_from_the_end(two):
    a, b = two
    fill(a, "INBOX", 6)
    b.ok("NOOP")
    a.ok("STORE 2,4,5 +FLAGS.SILENT (\\Deleted)")
    assert told(a.ok("EXPUNGE")) == [b"5 EXPUNGE", b"4 EXPUNGE", b"2 EXPUNGE", b"3 RECENT"]
    a.append("INBOX", MESSAGE)
    assert told(b.ok("NOOP")) == [b"5 EXPUNGE", b"4 EXPUNGE", b"2 EXPUNGE", b"4 EXISTS",
                                  b"0 RECENT"]
    assert [v["UID"] for v in b.fetch("1:*", "UID").values()] == [b"1", b"3", b"6", b"7"]


def test_all_at_once(two):
    """EXPUNGE, FLAGS for a new keyword, EXISTS, FETCH."""
    a, b = two
    fill(a, "INBOX", 3)
    b.ok("NOOP")
    a.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    a.ok("EXPUNGE")
    a.ok("STORE 2 +FLAGS.SILENT (\\Seen new)")
    a.append("INBOX", MESSAGE)
    answer = b.ok("CHECK")
    assert [x.split(b" (")[0] for x in answer.untagged] == [
        b"1 EXPUNGE", b"FLAGS", b"OK [PERMANENTFLAGS", b"3 EXISTS", b"0 RECENT", b"2 FETCH"]
    assert answer.untagged[-1] == b"2 FETCH (FLAGS (\\Seen new))"


@pytest.mark.parametrize("command", ["FETCH 1:4 FLAGS", "STORE 4 +FLAGS.SILENT (\\Seen)",
                                     "SEARCH ALL", "STORE 4 +FLAGS (\\Seen)"])
def test_no_expunge_during(two, command):
    """RFC 3501 7.4.1: numbers stay what they are during FETCH, STORE and SEARCH."""
    a, b = two
    fill(a, "INBOX", 4)
    b.ok("NOOP")
    a.ok("STORE 1:2 +FLAGS.SILENT (\\Deleted)")
    a.ok("EXPUNGE")
    for _ in range(3):
        answer = b.ok(command)
        assert not [x for x in answer.untagged if b"EXPUNGE" in x or b"EXISTS" in x], answer
    # Number 4 still is the fourth.
    assert b.fetch("4", "UID")[4]["UID"] == b"4"
    assert told(b.ok("NOOP"))[:2] == [b"2 EXPUNGE", b"1 EXPUNGE"]
    assert b.fetch("2", "UID")[2]["UID"] == b"4"


def test_expunge_during_uid_commands(two):
    """RFC 3501 6.4.8 allows it there; what is certain is that the numbers fit."""
    a, b = two
    fill(a, "INBOX", 3)
    b.ok("NOOP")
    a.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    a.ok("EXPUNGE")
    count = 3
    for line in b.ok("UID SEARCH ALL").untagged + b.ok("NOOP").untagged:
        count -= line.endswith(b"EXPUNGE")
    assert count == 2
    assert [v["UID"] for v in b.fetch("1:2", "UID").values()] == [b"2", b"3"]


def test_flags_of_a_message_that_went(two):
    """It can be looked at until its EXPUNGE was told; nothing brings it back."""
    a, b = two
    fill(a, "INBOX", 2)
    b.ok("NOOP")
    a.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    a.ok("EXPUNGE")
    answer = b.run("FETCH 1 (FLAGS BODY.PEEK[])")
    assert answer.status in ("OK", "NO")
    b.run("STORE 1 +FLAGS (\\Flagged)")
    assert b"1 EXPUNGE" in b.ok("NOOP").untagged
    assert b"FLAGS ()" in b.ok("FETCH 1 FLAGS").untagged[0]


def test_flag_changes_reach_the_others_and_own_silent_ones_do_not(two):
    a, b = two
    fill(a, "INBOX", 3)
    b.ok("NOOP")
    assert told(a.ok("STORE 2 +FLAGS (\\Seen)")) == [b"2 FETCH (FLAGS (\\Seen \\Recent))"]
    assert told(a.ok("STORE 2 +FLAGS.SILENT (\\Flagged)")) == []
    assert told(b.ok("NOOP")) == [b"2 FETCH (FLAGS (\\Flagged \\Seen))"]
    # A silent change of what somebody else changed as well: the client would guess wrong.
    b.ok("STORE 2 +FLAGS.SILENT (\\Draft)")
    assert told(a.ok("STORE 2 +FLAGS.SILENT (\\Answered)")) == [
        b"2 FETCH (FLAGS (\\Answered \\Flagged \\Seen \\Draft \\Recent))"]
    assert told(a.ok("UID STORE 2 FLAGS (\\Seen)")) == [
        b"2 FETCH (UID 2 FLAGS (\\Seen \\Recent))"]
    assert told(a.ok("STORE 2 +FLAGS (\\Seen)")) == [b"2 FETCH (FLAGS (\\Seen \\Recent))"]


def test_seen_by_reading(two):
    a, b = two
    fill(a, "INBOX", 1)
    b.ok("NOOP")
    a.ok("FETCH 1 BODY[]")
    assert told(b.ok("NOOP")) == [b"1 FETCH (FLAGS (\\Seen))"]


# --- IDLE ----------------------------------------------------------------------------------------
def test_idle(two):
    a, b = two
    tag = start_idle(b)
    a.append("INBOX", MESSAGE)
    assert b.read_line() == b"* 1 EXISTS"
    # Told first, so the message is \\Recent here.
    assert b.read_line() == b"* 1 RECENT"
    a.ok("STORE 1 +FLAGS (\\Deleted)")
    assert b.read_line() == b"* 1 FETCH (FLAGS (\\Deleted \\Recent))"
    a.ok("EXPUNGE")
    assert b.read_line() == b"* 1 EXPUNGE"
    assert b.read_line() == b"* 0 RECENT"
    answer = end_idle(b, tag)
    assert answer.status == "OK" and answer.untagged == []


def test_idle_tells_what_came_before_it(two):
    a, b = two
    fill(a, "INBOX", 2)
    b.send(b"t IDLE\r\nDONE\r\n")
    lines = [b.read_line() for _ in range(4)]
    assert lines[-1].startswith(b"t OK")
    assert b"* 2 EXISTS" in lines


def test_idle_and_mail_from_outside(imap_account):
    """A delivery by another process is news too."""
    import smtplib
    c = imap_account.open("INBOX")
    tag = start_idle(c)
    with smtplib.SMTP("127.0.0.1", imap_account.appliance.ports["smtp"]) as smtp:
        smtp.sendmail("x@elsewhere.example", [imap_account.address], "Subject: hello\r\n\r\nhi\r\n")
    assert c.read_line() == b"* 1 EXISTS"
    assert end_idle(c, tag).status == "OK"


def test_idle_ends_with_done_only(imap_account):
    c = imap_account.open("INBOX")
    for data in (b"NOOP\r\n", b"x DONE\r\n", b"\r\n", b"DONE \r\n", b"D\0NE\r\n", b"DONE\n",
                 b"x" * 100000 + b"\r\n"):
        tag = start_idle(c)
        c.send(data)
        assert c.finish(tag).status == "BAD", data
        assert c.run("NOOP").status == "OK"
    tag = start_idle(c)
    c.send(b"do")
    c.send(b"nE\r\nx NOOP\r\n")
    assert c.finish(tag).status == "OK"
    assert c.read_line().startswith(b"x OK")


def test_idle_without_a_mailbox(imap_account):
    c = imap_account.open()
    tag = start_idle(c)
    assert end_idle(c, tag).status == "OK"


def test_many_idlers(imap_account):
    writer = imap_account.open("INBOX")
    idlers = [imap_account.open("INBOX") for _ in range(10)]
    tags = [start_idle(c) for c in idlers]
    for n in range(1, 6):
        writer.append("INBOX", MESSAGE)
    for c, tag in zip(idlers, tags):
        last = 0
        while last < 5:
            line = c.read_line()
            if line.endswith(b"EXISTS"):
                now = int(line.split()[1])
                assert now > last
                last = now
        assert end_idle(c, tag).status == "OK"


def test_a_client_that_does_not_read_its_news(two):
    """More news than any buffer holds: they wait for the client, and are complete."""
    a, b = two
    a.ok("CREATE many")
    batch = b"".join(b" {%d+}\r\n" % len(MESSAGE) + MESSAGE for _ in range(500))
    for _ in range(6):
        a.send(b"t APPEND many" + batch + b"\r\n")
        assert a.read_line().startswith(b"t OK")
    a.ok("SELECT many")
    b.ok("SELECT many")
    tag = start_idle(b)
    for n in range(20):
        a.ok(f"STORE 1:* FLAGS.SILENT (\\Flagged keyword-{n} another-keyword-of-some-length)")
    b.send(b"DONE\r\n")
    answer = b.finish(tag)
    last = {}
    for line in answer.untagged:
        number, word, rest = line.split(b" ", 2) if b" FETCH " in line else (b"0", b"", line)
        last[int(number)] = rest
    assert all(b"keyword-19" in last[n] for n in range(1, 3001))


# --- \Recent -------------------------------------------------------------------------------------
def recent(answer):
    return [int(x.split()[0]) for x in answer.untagged if x.endswith(b"RECENT")]


def test_recent_belongs_to_one_session(imap_account):
    a = imap_account.open()
    fill(a, "INBOX", 3)
    look = imap_account.open()
    assert recent(look.ok("EXAMINE INBOX")) == [3]
    b = imap_account.open()
    assert recent(b.ok("SELECT INBOX")) == [3]
    c = imap_account.open()
    assert recent(c.ok("SELECT INBOX")) == [0]
    assert b.search("RECENT") == [1, 2, 3] and c.search("RECENT") == []
    assert b.search("OLD") == [] and c.search("OLD") == [1, 2, 3]
    a.append("INBOX", MESSAGE)
    first, second = c.ok("NOOP"), b.ok("NOOP")
    assert recent(first) == [1] and recent(second) == [3]
    # After all have left, nothing is new.
    for s in (b, c, look):
        s.ok("UNSELECT")
    assert recent(a.ok("SELECT INBOX")) == [0]


# --- mailboxes that go away ----------------------------------------------------------------------
def test_the_selected_mailbox_is_deleted(imap_account):
    a = imap_account.open()
    a.ok("CREATE gone")
    fill(a, "gone", 2)
    b, c = imap_account.open("gone"), imap_account.open("gone")
    tag = start_idle(c)
    a.ok("DELETE gone")
    line = c.read_line()
    assert line.startswith(b"* BYE"), line
    assert tag
    answer = b.run("NOOP")
    assert answer.status == "OK"
    assert b.read_line().startswith(b"* BYE")
    a.ok("CREATE gone")
    assert b"0 EXISTS" in a.ok("SELECT gone").untagged


def test_the_selected_mailbox_is_renamed(imap_account):
    """Its sessions go on: it is the same mailbox."""
    a = imap_account.open()
    a.ok("CREATE before")
    fill(a, "before", 2)
    b = imap_account.open("before")
    a.ok("RENAME before after")
    a.append("after", MESSAGE)
    assert b"3 EXISTS" in b.ok("NOOP").untagged
    assert len(b.fetch("1:*", "FLAGS")) == 3


def test_inbox_is_renamed(imap_account):
    a, b = imap_account.open(), imap_account.open()
    fill(a, "INBOX", 2)
    b.ok("SELECT INBOX")
    a.ok("RENAME INBOX old")
    answer = b.ok("NOOP")
    assert answer.untagged[:2] == [b"2 EXPUNGE", b"1 EXPUNGE"]
    a.append("INBOX", MESSAGE)
    assert b"1 EXISTS" in b.ok("NOOP").untagged


def test_a_server_that_stops_says_so(make_appliance):
    a = make_appliance(accounts=("alice",))
    sessions = []
    for idle in (True, False):
        c = Imap(a.connect("imaps"))
        c.login("alice@example.test", PASSWORD)
        c.ok("SELECT INBOX")
        if idle:
            start_idle(c)
        sessions.append(c)
    a.stop()
    for c in sessions:
        assert c.read_line().startswith(b"* BYE [UNAVAILABLE]")
        with pytest.raises(EOFError):
            c.read_line()
        c.close()


# --- long answers leave room for others ------------------------------------------------------------
def test_noop_during_a_long_fetch(imap_account):
    a, b = imap_account.open(), imap_account.open()
    big = b"Subject: big\r\n\r\n" + b"0123456789abcdef" * 400000
    for _ in range(4):
        a.append("INBOX", big)
    a.ok("SELECT INBOX")
    b.ok("SELECT INBOX")
    tag = a.start("FETCH 1:4 BODY.PEEK[]")
    # Nothing is read: the server must hold back, and has time for everybody else.
    for _ in range(200):
        b.ok("NOOP")
    b.ok("FETCH 1:4 (ENVELOPE FLAGS)")
    answer = a.finish(tag)
    assert answer.status == "OK"
    assert sum(len(x) for x in answer.untagged) > 4 * len(big)
