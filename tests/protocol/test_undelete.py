"""mailsteadctl undelete: what was expunged or deleted comes back as it was."""
import json
import time

import pytest

from appliance import PASSWORD
from imap import Imap
from imap_account import MESSAGE, fill, status


@pytest.fixture
def undelete(appliance, imap_account):
    def run(verb, *rest):
        return appliance.ctl("undelete", verb, imap_account.address, *rest)
    return run


@pytest.fixture
def c(imap_account):
    return imap_account.open()


def expunge(session, mailbox, numbers="1:*"):
    session.ok(f"SELECT {mailbox}")
    session.ok(f"STORE {numbers} +FLAGS.SILENT (\\Deleted)")
    session.ok("EXPUNGE")


def test_one_message(c, undelete):
    for n in range(3):
        c.append("INBOX", b"From: x@y.test\r\nSubject: =?utf-8?q?n=C3=BCmber?= %d\r\n\r\n%d" % (n, n),
                 f"\\Seen \\Flagged k{n}", "17-Jul-1996 02:44:25 +0000")
    expunge(c, "INBOX", "1,3")
    listed = undelete("list", "INBOX")
    assert [(x["uid"], x["subject"], x["from"]) for x in listed] == [
        (1, "nümber 0", "x@y.test"), (3, "nümber 2", "x@y.test")]
    assert listed[0]["received"] == 837571465 and abs(listed[0]["removed"] - time.time()) < 600
    assert "1" in undelete("message", "INBOX", "3")["text"]
    c.ok("NOOP")
    got = c.fetch("1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[TEXT])")
    assert [int(v["UID"]) for v in got.values()] == [2, 4]
    assert {x for x in got[2]["FLAGS"] if x != b"\\Recent"} == {b"\\Seen", b"\\Flagged", b"k2"}
    assert got[2]["INTERNALDATE"] == b"17-Jul-1996 02:44:25 +0000"
    assert got[2]["BODY[TEXT]"] == b"2"
    assert [x["uid"] for x in undelete("list", "INBOX")] == [1]


def test_a_session_that_has_it_selected_hears_it(c, undelete):
    fill(c, "INBOX", 2)
    expunge(c, "INBOX")
    undelete("mailbox", "INBOX")
    assert b"2 EXISTS" in c.ok("NOOP").untagged


def test_a_deleted_mailbox(c, undelete):
    c.ok("CREATE work/orders (USE (\\Archive))")
    fill(c, "work/orders", 3, "\\Answered")
    c.ok("CREATE work/empty")
    c.ok("DELETE work/orders")
    c.ok("DELETE work/empty")
    c.ok("DELETE work")
    assert sorted((x["mailbox"], x["deleted"], x["messages"]) for x in undelete("list")) == [
        ("work", True, 0), ("work/empty", True, 0), ("work/orders", True, 3)]
    undelete("mailbox", "work/orders")
    assert status(c, "work/orders", "MESSAGES", "UNSEEN") == {"MESSAGES": 3, "UNSEEN": 3}
    line = c.ok('LIST "" work/orders RETURN (SUBSCRIBED)').lines("LIST")[0]
    assert b"\\Archive" in line and b"\\Subscribed" in line
    c.ok("SELECT work/orders")
    assert b"\\Answered" in c.fetch(1, "FLAGS")[1]["FLAGS"]
    assert [x["mailbox"] for x in undelete("list")] == ["work/empty"]
    undelete("mailbox", "work/empty")
    assert status(c, "work/empty", "MESSAGES") == {"MESSAGES": 0}
    assert undelete("list") == []


def test_into_a_mailbox_made_anew(c, undelete):
    """What was in any mailbox of that name comes back into the one that has it now."""
    c.ok("CREATE box")
    fill(c, "box", 2)
    c.ok("DELETE box")
    c.ok("CREATE box")
    fill(c, "box", 1)
    c.ok("DELETE box")
    c.ok("CREATE box")
    c.append("box", MESSAGE)
    undelete("mailbox", "box")
    assert status(c, "box", "MESSAGES", "UIDNEXT") == {"MESSAGES": 4, "UIDNEXT": 5}


def test_after_a_rename(c, undelete):
    c.ok("CREATE before")
    fill(c, "before", 2)
    expunge(c, "before")
    c.ok("RENAME before after")
    assert [x["mailbox"] for x in undelete("list")] == ["after"]
    undelete("mailbox", "after")
    assert status(c, "after", "MESSAGES") == {"MESSAGES": 2}


def test_all_since(c, undelete):
    fill(c, "INBOX", 2)
    c.ok("CREATE gone")
    fill(c, "gone", 2)
    expunge(c, "INBOX")
    c.ok("DELETE gone")
    for when in ("2099-01-01", "2099-01-01T00:00"):
        with pytest.raises(AssertionError, match="nothing to restore"):
            undelete("since", when)
    for bad in ("1x", "tomorrow", "2026-13-01", "2026-1-1", "", "-1d", "2026-01-01T25:00"):
        with pytest.raises(AssertionError, match="expected a time"):
            undelete("since", bad)
    undelete("since", "1h")
    assert status(c, "INBOX", "MESSAGES") == {"MESSAGES": 2}
    assert status(c, "gone", "MESSAGES") == {"MESSAGES": 2}
    with pytest.raises(AssertionError, match="nothing to restore"):
        undelete("since", "2020-01-01T00:00:00")


def test_many(c, undelete):
    one = b" {%d+}\r\n" % len(MESSAGE) + MESSAGE
    c.ok("CREATE many")
    c.send(b"m APPEND many" + one * 1000 + b"\r\n")
    assert c.read_line().startswith(b"m OK")
    c.ok("SELECT many")
    for _ in range(4):
        c.ok("COPY 1:* many")
    expunge(c, "many")
    before = undelete("list")[0]["messages"]
    assert before == 16000
    assert "16000" in undelete("mailbox", "many")["text"]
    assert status(c, "many", "MESSAGES", "SIZE") == {
        "MESSAGES": 16000, "SIZE": 16000 * len(MESSAGE)}


def test_quota_counts_it_again(appliance, imap_account, undelete):
    appliance.ctl("account", "quota", imap_account.address, "1M")
    c = imap_account.open()
    c.append("INBOX", b"x" * 5000)
    expunge(c, "INBOX")
    assert c.ok('GETQUOTA ""').untagged == [b'QUOTA "" (STORAGE 0 1024)']
    undelete("mailbox", "INBOX")
    assert c.ok('GETQUOTA ""').untagged == [b'QUOTA "" (STORAGE 5 1024)']


def test_kept_counts_in_the_quota_if_wanted(make_appliance):
    a = make_appliance(settings={"store.undelete_counts": "yes"}, accounts=("alice",))
    a.ctl("account", "quota", "alice@example.test", "10K")
    with Imap(a.connect("imaps")) as c:
        c.login("alice@example.test", PASSWORD)
        c.append("INBOX", b"x" * 6000)
        expunge(c, "INBOX")
        assert c.ok('GETQUOTA ""').untagged == [b'QUOTA "" (STORAGE 6 10)']
        assert c.run(("APPEND INBOX ", b"x" * 6000)).text.startswith(b"[OVERQUOTA]")
        a.ctl("undelete", "mailbox", "alice@example.test", "INBOX")
        assert c.ok('GETQUOTA ""').untagged == [b'QUOTA "" (STORAGE 6 10)']


def test_words(appliance, imap_account, undelete):
    for args in ((), ("list",), ("list", "nobody@example.test"), ("everything", imap_account.address),
                 ("message", imap_account.address, "INBOX", "0"),
                 ("message", imap_account.address, "INBOX", "x"),
                 ("mailbox", imap_account.address, "a//b"),
                 ("mailbox", imap_account.address, "never/there"),
                 ("mailbox", imap_account.address)):
        done = appliance.run_ctl("undelete", *args)
        assert done.returncode != 0 and "error" in json.loads(done.stdout), args
    # Another account's mail is out of reach.
    c = imap_account.open()
    fill(c, "INBOX", 1)
    expunge(c, "INBOX")
    assert appliance.ctl("undelete", "list", "alice@example.test") == []
    # What changes something leaves an audit row with the address.
    undelete("mailbox", "INBOX")
    rows = json.dumps(appliance.ctl("audit", "list", "20"))
    assert "undelete mailbox" in rows and imap_account.address in rows


def test_over_a_crash(make_appliance):
    """What can be restored is as durable as everything else."""
    a = make_appliance(accounts=("alice",))
    with Imap(a.connect("imaps")) as c:
        c.login("alice@example.test", PASSWORD)
        fill(c, "INBOX", 2)
        expunge(c, "INBOX")
    a.kill_all()
    a.start()
    a.ctl("undelete", "mailbox", "alice@example.test", "INBOX")
    with Imap(a.connect("imaps")) as c:
        c.login("alice@example.test", PASSWORD)
        assert status(c, "INBOX", "MESSAGES") == {"MESSAGES": 2}
