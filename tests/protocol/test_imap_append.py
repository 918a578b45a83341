"""APPEND, MULTIAPPEND, literal8 and REPLACE: bytes in, bytes out, all or nothing."""
import os
import re
import threading

import pytest

from appliance import PASSWORD
from imap import Imap
from imap_account import MESSAGE, status


@pytest.fixture
def c(imap_account):
    return imap_account.open()


def code(answer):
    """(uidvalidity, "uids") of APPENDUID."""
    found = re.search(rb"\[APPENDUID (\d+) ([\d:,]+)\]", answer.text)
    assert found, answer
    return int(found.group(1)), found.group(2).decode()


def test_bytes_flags_keywords_and_date(c):
    c.ok("CREATE box")
    answer = c.append("box", MESSAGE, "\\Seen \\Flagged $Label1 NonJunk",
                      "17-Jul-1996 02:44:25 -0700")
    assert code(answer) == (status(c, "box", "UIDVALIDITY")["UIDVALIDITY"], "1")
    c.ok("SELECT box")
    got = c.fetch(1, "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")[1]
    assert got["BODY[]"] == MESSAGE and int(got["RFC822.SIZE"]) == len(MESSAGE)
    assert set(got["FLAGS"]) >= {b"\\Seen", b"\\Flagged", b"$Label1", b"NonJunk"}
    assert got["INTERNALDATE"] in (b"17-Jul-1996 09:44:25 +0000", b"17-Jul-1996 02:44:25 -0700")


@pytest.mark.parametrize("body", [
    b"x", b"\r\n", b"no newline at all", b"lf\nonly\n", b"\r\r\n\n\r", bytes(range(1, 256)),
    b"Subject: dots\r\n\r\n.\r\n..\r\n.\r\n", b"a" * 70000, os.urandom(300000).replace(b"\0", b"0")],
    ids=["byte", "line-end", "no-newline", "lf", "cr", "all-bytes", "dots", "long-line", "noise"])
def test_any_bytes_come_back(c, body):
    c.ok("CREATE box")
    c.ok(("APPEND box ", body))
    c.ok("SELECT box")
    got = c.fetch(1, "(RFC822.SIZE BODY.PEEK[])")[1]
    assert got["BODY[]"] == body and int(got["RFC822.SIZE"]) == len(body)


def test_append_to_the_selected_mailbox_is_told(imap_account):
    c = imap_account.open("INBOX")
    other = imap_account.open("INBOX")
    answer = c.append("INBOX", MESSAGE)
    assert b"1 EXISTS" in answer.untagged
    assert b"1 EXISTS" in other.ok("NOOP").untagged


def test_nonsynchronising_literals_and_pipelining(c):
    c.ok("CREATE box")
    line = b"APPEND box (\\Seen) {%d+}\r\n" % len(MESSAGE) + MESSAGE + b"\r\n"
    c.send(b"".join(b"p%d " % n + line for n in range(20)) + b"end NOOP\r\n")
    for n in range(20):
        assert c.read_line().startswith(b"p%d OK [APPENDUID " % n)
    assert c.read_line().startswith(b"end OK")
    assert status(c, "box", "MESSAGES") == {"MESSAGES": 20}


def test_the_name_may_be_a_literal(c):
    c.ok("CREATE box")
    c.ok(("APPEND ", b"box", " (\\Seen) ", MESSAGE))
    c.send(b"l1 APPEND {3+}\r\nbox {%d+}\r\n" % len(MESSAGE) + MESSAGE + b"\r\n")
    assert c.read_line().startswith(b"l1 OK")
    assert status(c, "box", "MESSAGES") == {"MESSAGES": 2}


def test_refused_before_the_literal_is_sent(imap_account):
    c = imap_account.open()
    for command, expected in (
            ("APPEND missing {10}", b"NO [TRYCREATE]"),
            ("APPEND INBOX {99999999}", b"NO [TOOBIG]"),
            ("APPEND INBOX {99999999999999999999999}", b"NO [TOOBIG]"),
            ("APPEND INBOX {0}", b"NO "),
            ("APPEND a//b {10}", b"NO [CANNOT]"),
            ("APPEND INBOX (\\Bad) {10}", b"BAD "),
            ("APPEND INBOX (x {10}", b"BAD "),
            ('APPEND INBOX "yesterday" {10}', b"BAD "),
            ("APPEND INBOX () extra {10}", b"BAD "),
            ("APPEND INBOX", b"BAD "),
            ("APPEND INBOX text", b"BAD "),
            ("APPEND", b"BAD ")):
        c.send(b"r " + command.encode() + b"\r\n")
        assert c.read_line().startswith(b"r " + expected), command
    assert status(c, "INBOX", "MESSAGES") == {"MESSAGES": 0}


def test_refused_after_a_literal_that_came_anyway(imap_account):
    """The stream stays in step, whatever is wrong with the command."""
    c = imap_account.open()
    for command, body, expected in (
            (b"APPEND missing {5+}", b"12345", b"NO [TRYCREATE]"),
            (b"APPEND INBOX (\\Bad) {5+}", b"12345", b"BAD "),
            (b"APPEND INBOX {0+}", b"", b"NO "),
            (b"APPEND INBOX {5+}", b"12\x0045", b"NO "),
            (b"APPEND INBOX ~{5+}", b"12\x0045", b"NO [UNKNOWN-CTE]"),
            (b"APPEND INBOX {5+}", b"12345 trailing", b"BAD "),
            (b"APPEND INBOX {5+}", b"12345 (\\Seen)", b"BAD "),
            (b"APPEND INBOX {5+}", b"12345 {x+}", b"BAD "),
            (b"APPEND INBOX {5+}", b"12345{5+}\r\n67890", b"BAD ")):
        c.send(b"s " + command + b"\r\n" + body + b"\r\nt NOOP\r\n")
        assert c.read_line().startswith(b"s " + expected), (command, body)
        assert c.read_line().startswith(b"t OK"), (command, body)
    assert status(c, "INBOX", "MESSAGES") == {"MESSAGES": 0}


def test_too_large_and_sent_anyway(make_appliance):
    a = make_appliance(settings={"smtp.message_size_max": "4096"}, accounts=("alice",))
    with Imap(a.connect("imaps")) as c:
        answer = c.login("alice@example.test", PASSWORD)
        assert b"APPENDLIMIT=4096" in answer.text
        c.append("INBOX", b"x" * 4096)
        c.send(b"s APPEND INBOX {4097+}\r\n" + b"x" * 4097 + b"\r\nt NOOP\r\n")
        assert c.read_line().startswith(b"s NO [TOOBIG]")
        assert c.read_line().startswith(b"t OK")
        assert status(c, "INBOX", "MESSAGES", "APPENDLIMIT") == {
            "MESSAGES": 1, "APPENDLIMIT": 4096}
        # The second of two is too large: nothing of either.
        c.send(b"u APPEND INBOX {3+}\r\nabc {4097+}\r\n" + b"x" * 4097 + b"\r\n")
        assert c.read_line().startswith(b"u NO [TOOBIG]")
        c.send(b"v APPEND INBOX {3+}\r\nabc {4097}\r\n")
        assert c.read_line().startswith(b"v NO [TOOBIG]")
        assert status(c, "INBOX", "MESSAGES") == {"MESSAGES": 1}
        # More than anybody would throw away.
        c.send(b"w APPEND INBOX {9999999999+}\r\n")
        assert c.read_line().startswith(b"* BYE")


def test_multiappend(c):
    c.ok("CREATE box")
    bodies = [b"Subject: %d\r\n\r\n" % n + b"x" * (n * 40000) for n in range(5)]
    c.append("box", MESSAGE)
    answer = c.ok(("APPEND box (\\Seen) ", bodies[0], " (\\Flagged k1) ", bodies[1],
                   ' "17-Jul-1996 02:44:25 -0700" ', bodies[2], " ", bodies[3],
                   ' () "17-Jul-1996 02:44:25 -0700" ', bodies[4]))
    assert code(answer)[1] == "2:6"
    c.ok("SELECT box")
    got = c.fetch("2:6", "(FLAGS BODY.PEEK[])")
    assert [got[n]["BODY[]"] for n in range(2, 7)] == bodies
    assert b"\\Seen" in got[2]["FLAGS"] and b"\\Seen" not in got[3]["FLAGS"]
    assert {b"\\Flagged", b"k1"} <= set(got[3]["FLAGS"])


def test_multiappend_is_all_or_nothing(imap_account):
    c = imap_account.open()
    one = b" {%d+}\r\n" % len(MESSAGE) + MESSAGE
    for end in (b" (\\Bad) {3+}\r\nabc", b" {3+}\r\na\0c", b" {0+}\r\n", b" junk"):
        c.send(b"m APPEND INBOX" + one * 3 + end + b"\r\n")
        assert c.read_line().startswith((b"m BAD", b"m NO"))
    c.send(b"m APPEND missing" + one * 3 + b"\r\n")
    assert c.read_line().startswith(b"m NO [TRYCREATE]")
    c.send(b"m APPEND INBOX" + one * 1001 + b"\r\n")
    assert c.read_line().startswith(b"m NO [LIMIT]")
    assert status(c, "INBOX", "MESSAGES") == {"MESSAGES": 0}
    c.send(b"m APPEND INBOX" + one * 1000 + b"\r\n")
    assert b" 1:1000]" in c.read_line()


def test_a_refused_command_keeps_nothing_of_what_follows(imap_account):
    """However many messages a command that is refused already still brings."""
    if "asan" in os.environ.get("MS_BUILD", ""):
        pytest.skip("the sanitizer has memory of its own")
    c = imap_account.open()
    pid = imap_account.appliance.pids()["imapd-worker"]

    def rss():
        with open(f"/proc/{pid}/status", encoding="ascii") as lines:
            return [int(x.split()[1]) for x in lines if x.startswith("VmRSS")][0]

    before = rss()
    c.send(b"m APPEND INBOX (\\Bad) {1+}\r\nx" + b" (a) {1+}\r\nx" * 20000)
    # As far as the server has read, for the next line answers.
    c.send(b"\r\n")
    assert c.read_line().startswith(b"m BAD")
    assert rss() - before < 8 * 1024


def test_too_many_keywords(c):
    c.ok("CREATE box")
    for n in range(8):
        c.append("box", MESSAGE, " ".join(f"k{n * 8 + i}" for i in range(8)))
    answer = c.run(("APPEND box (onemore) ", MESSAGE))
    assert answer.status == "NO" and answer.text.startswith(b"[LIMIT]")
    c.append("box", MESSAGE, "k63 k0")
    assert c.run((f"APPEND box ({'k' * 65}) ", MESSAGE)).status == "BAD"
    assert status(c, "box", "MESSAGES") == {"MESSAGES": 9}


def test_a_client_that_goes_away(imap_account):
    """Half a message is no message."""
    c = imap_account.open()
    c.send(b"g APPEND INBOX {1000000+}\r\n" + b"x" * 500000)
    c.close()
    other = imap_account.open()
    other.append("INBOX", MESSAGE)
    assert status(other, "INBOX", "MESSAGES") == {"MESSAGES": 1}


def test_acknowledged_is_on_disk(make_appliance):
    """Everything is killed in the middle: what had its OK is there, whole, and in order."""
    a = make_appliance(accounts=("alice",))
    told = []

    def append(n):
        try:
            with Imap(a.connect("imaps")) as c:
                c.login("alice@example.test", PASSWORD)
                for i in range(10000):
                    body = b"Subject: %d.%d\r\n\r\n" % (n, i) + b"%d" % i * (100 * n)
                    told.append((code(c.append("INBOX", body))[1], body))
        except (OSError, EOFError):
            pass

    threads = [threading.Thread(target=append, args=(n,)) for n in (1, 30, 1000)]
    for thread in threads:
        thread.start()
    a.wait_for(lambda: len(told) > 60)
    a.kill_all()
    for thread in threads:
        thread.join()
    a.start()
    with Imap(a.connect("imaps")) as c:
        c.login("alice@example.test", PASSWORD)
        c.ok("SELECT INBOX")
        got = {v["UID"].decode(): v["BODY[]"]
               for v in c.fetch("1:*", "(UID BODY.PEEK[])").values()}
        assert len(got) >= len(told)
        for uid, body in told:
            assert got[uid] == body


def test_large_message_while_others_work(imap_account):
    c, other = imap_account.open(), imap_account.open()
    body = os.urandom(3000000).replace(b"\0", b"0")
    tag = c.start("APPEND INBOX {%d+}" % len(body))
    for at in range(0, len(body), 300000):
        c.send(body[at:at + 300000])
        other.ok("NOOP")
    c.send(b"\r\n")
    assert c.finish(tag).status == "OK"
    c.ok("SELECT INBOX")
    assert c.fetch(1, "BODY.PEEK[]")[1]["BODY[]"] == body


def test_replace(imap_account):
    c = imap_account.open()
    other = imap_account.open()
    c.ok("CREATE drafts")
    for n in range(3):
        c.append("drafts", b"Subject: %d\r\n\r\n" % n, "\\Draft")
    c.ok("SELECT drafts")
    answer = c.ok(("REPLACE 2 drafts (\\Draft \\Seen) ", b"Subject: new\r\n\r\n"))
    words = [x.split(b" ")[1] if x[:1].isdigit() else x.split(b" ")[0] for x in answer.untagged]
    assert answer.untagged[0].startswith(b"OK [APPENDUID ") and b" 4] " in answer.untagged[0]
    assert words.index(b"EXPUNGE") > 0 and b"2 EXPUNGE" in answer.untagged
    got = c.fetch("1:*", "(UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    assert [int(v["UID"]) for v in got.values()] == [1, 3, 4]
    # By UID, and into another mailbox.
    c.ok(("UID REPLACE 3 INBOX ", MESSAGE))
    assert status(other, "INBOX", "MESSAGES") == {"MESSAGES": 1}
    assert status(other, "drafts", "MESSAGES") == {"MESSAGES": 2}
    assert c.run(("UID REPLACE 3 drafts ", MESSAGE)).status == "NO"
    assert c.run(("UID REPLACE 9 drafts ", MESSAGE)).text.startswith(b"[NONEXISTENT]")
    assert c.run(("REPLACE 9 drafts ", MESSAGE)).status == "BAD"
    assert c.run(("REPLACE 1 missing ", MESSAGE)).text.startswith(b"[TRYCREATE]")
    for bad in ("REPLACE 1:2 drafts {3}", "REPLACE 1,2 drafts {3}", "REPLACE 1 drafts"):
        c.send(b"b " + bad.encode() + b"\r\n")
        assert c.read_line().startswith(b"b BAD"), bad
    c.send(b"b REPLACE 1 drafts {3+}\r\nabc {3+}\r\nabc\r\n")
    assert c.read_line().startswith(b"b BAD")
    assert status(other, "drafts", "MESSAGES") == {"MESSAGES": 2}
    # Somebody was faster.
    other.ok("SELECT drafts")
    other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    other.ok("EXPUNGE")
    answer = c.run(("UID REPLACE 1 drafts ", MESSAGE))
    assert answer.status == "NO"
    assert status(other, "drafts", "MESSAGES") == {"MESSAGES": 1}
    c.ok("EXAMINE drafts")
    assert c.run(("REPLACE 1 drafts ", MESSAGE)).text.startswith(b"[NOPERM]")


def test_replace_needs_a_mailbox(c):
    c.send(b"r REPLACE 1 INBOX {3+}\r\nabc\r\n")
    assert c.read_line().startswith(b"r BAD")
    assert c.ok("NOOP")
