"""CREATE, DELETE, RENAME, SUBSCRIBE, STATUS: what they answer and what stands in the store after."""
import pytest

from imap_account import MESSAGE, fill, status


@pytest.fixture
def c(imap_account):
    return imap_account.open()


def names(session, pattern="*"):
    return [line.split(b' "/" ', 1)[1] for line in session.ok(f'LIST "" {pattern}').lines("LIST")]


def test_create_and_its_answers(c):
    answer = c.ok("CREATE work/2026/orders/")
    assert answer.text.startswith(b"[MAILBOXID (M")
    assert {b"work", b"work/2026", b"work/2026/orders"} <= set(names(c))
    assert c.run("CREATE work").text.startswith(b"[ALREADYEXISTS]")
    assert c.run("CREATE InBoX").text.startswith(b"[ALREADYEXISTS]")
    assert c.run("CREATE").status == "BAD"
    assert c.run("CREATE a b").status == "BAD"
    assert c.run('CREATE ""').status == "NO"
    assert c.run("CREATE a//b").text.startswith(b"[CANNOT]")
    assert c.run("CREATE /a").text.startswith(b"[CANNOT]")
    assert c.ok("CREATE INBOX/sub").status == "OK"
    assert b"INBOX/sub" in names(c)
    assert b"INBOX/sub" in names(c, "inbox/SUB".replace("SUB", "sub"))


def test_special_use(c):
    c.ok("CREATE mine (USE (\\Drafts \\Archive))")
    line = [x for x in c.ok('LIST "" mine').lines("LIST")][0]
    assert b"\\Drafts" in line and b"\\Archive" in line
    assert c.run("CREATE all (USE (\\All))").text.startswith(b"[USEATTR]")
    assert c.run("CREATE all (USE (Drafts))").status == "BAD"
    assert c.run("CREATE all (USE \\Drafts)").status == "BAD"
    assert b"all" not in names(c)


@pytest.mark.parametrize("name", [
    "../alice", "..", "/etc/passwd", "a/../../b", ".", "&AAA-", "con\\\\x", "~alice", "%s%n",
    "Other Users/alice", "user.alice"])
def test_names_are_only_keys(imap_account, name):
    """A name that looks like a path is refused or is a mailbox like any other, and nothing else."""
    c = imap_account.open()
    before = names(c)
    for command in ("SELECT", "EXAMINE", "DELETE", "STATUS", "SUBSCRIBE"):
        rest = " (MESSAGES)" if command == "STATUS" else ""
        assert c.run(f'{command} "{name}"{rest}').status == "NO", command
    created = c.run(f'CREATE "{name}"')
    if created.status == "OK":
        assert c.ok(f'STATUS "{name}" (MESSAGES)').lines("STATUS")
        c.ok(f'DELETE "{name}"')
        for level in [n for n in reversed(names(c)) if n not in before]:
            c.ok((f"DELETE ", level.strip(b'"').replace(b"\\\\", b"\\")))
    else:
        assert created.text.startswith(b"[CANNOT]"), created
    assert names(c) == before


def test_missing_and_foreign_mailboxes_get_the_same_answer(imap_account):
    """A name in another account is a name that is not there."""
    c = imap_account.open("INBOX")
    c.append("INBOX", MESSAGE)
    c.ok("NOOP")
    answers = {}
    for name in ("missing", "alice@example.test", '"Other Users/bob/INBOX"', "user/1/INBOX"):
        for command in ("SELECT {}", "EXAMINE {}", "DELETE {}", "RENAME {} x", "SUBSCRIBE {}",
                        "STATUS {} (MESSAGES)", "COPY 1 {}", "MOVE 1 {}"):
            answer = c.run(command.format(name))
            assert answer.status == "NO"
            code = answer.text.split(b"]")[0]
            assert answers.setdefault(command, code) == code
            if command.startswith(("SELECT", "EXAMINE")):
                c.ok("SELECT INBOX")
        answer = c.run((f"APPEND {name} ", MESSAGE))
        assert answer.status == "NO" and answer.text.startswith(b"[TRYCREATE]")
    assert answers["COPY 1 {}"] == answers["MOVE 1 {}"] == b"[TRYCREATE"
    assert answers["SELECT {}"] == answers["DELETE {}"] == b"[NONEXISTENT"


def test_long_names_and_control_characters(c):
    before = names(c)
    longest = b"n" * 400
    assert c.run(("CREATE ", longest)).status == "OK"
    assert longest in names(c)
    assert c.run(("CREATE ", longest + b"n")).text.startswith(b"[CANNOT]")
    assert c.run(("CREATE ", b"n" * 5000)).status in ("NO", "BAD")
    assert c.run(("CREATE ", b"a\x01b")).text.startswith(b"[CANNOT]")
    assert c.run(("CREATE ", b"a\r\nb")).text.startswith(b"[CANNOT]")
    # A NUL is no character of a literal: the command is refused as a whole.
    tag = c.start("NOOP")
    c.finish(tag)
    c.send(b"x1 CREATE {3+}\r\na\x00b\r\n")
    assert c.read_line().startswith(b"x1 BAD")
    assert c.ok("NOOP")
    c.ok(("DELETE ", longest))
    assert names(c) == before


def test_modified_utf7_and_nfc(c):
    """One mailbox, however its name is written; told in modified UTF-7."""
    coded = b'"Entw&APw-rfe & mehr"'.replace(b" & ", b" &- ")
    c.ok('CREATE "Entw&APw-rfe &- mehr"')
    assert coded in names(c)
    # Decomposed: u and U+0308. And UTF-8 as it is.
    for same in (b"Entwu&Awg-rfe &- mehr", "Entwürfe & mehr".encode(),
                 "Entwu\u0308rfe & mehr".encode()):
        assert c.run(("CREATE ", same)).text.startswith(b"[ALREADYEXISTS]"), same
        assert c.ok(("STATUS ", same, " (MESSAGES)")).lines("STATUS") == [
            b"STATUS " + coded + b" (MESSAGES 0)"]
    # Not the canonical coding of anything: the bytes themselves, never another name.
    for bad in ("&", "&AGE-", "a&ADw", "&2AA-"):
        assert c.run(f'STATUS "{bad}" (MESSAGES)').status == "NO"
    assert c.run(("STATUS ", b"\xff\xfe", " (MESSAGES)")).status == "NO"


def test_delete(imap_account):
    c = imap_account.open()
    c.ok("CREATE a/b/c")
    fill(c, "a/b", 2)
    assert c.run("DELETE INBOX").text.startswith(b"[CANNOT]")
    c.ok("DELETE a/b")
    lines = c.ok('LIST "" a/*').lines("LIST")
    assert any(b"\\Noselect" in x and x.endswith(b" a/b") for x in lines), lines
    assert c.run("SELECT a/b").status == "NO"
    assert c.run("STATUS a/b (MESSAGES)").status == "NO"
    assert c.run("DELETE a/b").text.startswith(b"[CANNOT]")
    assert c.run(("APPEND a/b ", MESSAGE)).status == "NO"
    c.ok("DELETE a/b/c")
    c.ok("DELETE a/b")
    assert names(c, "a*") == [b"a"]


def test_delete_of_the_selected_mailbox(imap_account):
    """Its own session goes on without one; another one is told, and closed."""
    c, other = imap_account.open(), imap_account.open()
    c.ok("CREATE box")
    fill(c, "box", 2)
    c.ok("SELECT box")
    other.ok("SELECT box")
    answer = c.ok("DELETE box")
    assert [x[:11] for x in answer.untagged] == [b"OK [CLOSED]"]
    assert c.run("FETCH 1 FLAGS").status == "BAD"
    c.ok("CREATE box")
    c.ok("SELECT box")
    assert c.search("ALL") == []
    with pytest.raises(EOFError):
        for _ in range(1000):
            other.ok("NOOP")


def test_uidvalidity_over_delete_recreate_and_rename(imap_account):
    """No UID of a name ever comes back with another message."""
    c = imap_account.open()
    c.ok("CREATE box")
    fill(c, "box", 3)
    first = status(c, "box", "UIDVALIDITY", "UIDNEXT", "MAILBOXID")
    assert first["UIDNEXT"] == 4
    c.ok("DELETE box")
    c.ok("CREATE box")
    second = status(c, "box", "UIDVALIDITY", "UIDNEXT", "MAILBOXID")
    assert second["UIDVALIDITY"] > first["UIDVALIDITY"]
    assert second["UIDNEXT"] == 1 and second["MAILBOXID"] != first["MAILBOXID"]
    fill(c, "box", 1)
    c.ok("RENAME box other")
    moved = status(c, "other", "UIDVALIDITY", "UIDNEXT", "MAILBOXID", "MESSAGES")
    assert moved == {**second, "UIDNEXT": 2, "MESSAGES": 1}
    c.ok("CREATE box")
    third = status(c, "box", "UIDVALIDITY", "UIDNEXT")
    assert third["UIDVALIDITY"] > second["UIDVALIDITY"] and third["UIDNEXT"] == 1
    # UIDs go on where they were after an expunge of all.
    c.ok("SELECT other")
    c.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    c.ok("EXPUNGE")
    c.append("other", MESSAGE)
    assert status(c, "other", "UIDNEXT")["UIDNEXT"] == 3


def test_rename(imap_account):
    c = imap_account.open()
    c.ok("CREATE top/one")
    c.ok("CREATE top/one/deep")
    c.ok("SUBSCRIBE top/one")
    fill(c, "top/one", 1)
    assert c.run("RENAME nothing x").text.startswith(b"[NONEXISTENT]")
    assert c.run("RENAME top/one INBOX").text.startswith(b"[ALREADYEXISTS]")
    assert c.run("RENAME top top/below").text.startswith(b"[CANNOT]")
    assert c.run("RENAME top").status == "BAD"
    c.ok("RENAME top new/place")
    assert {b"new", b"new/place", b"new/place/one", b"new/place/one/deep"} <= set(names(c))
    assert names(c, "top*") == []
    assert status(c, "new/place/one", "MESSAGES") == {"MESSAGES": 1}
    assert any(x.endswith(b" new/place/one") for x in c.ok('LSUB "" "*"').lines("LSUB"))


def test_rename_inbox_moves_its_messages(imap_account):
    c = imap_account.open()
    c.ok("CREATE INBOX/kept")
    fill(c, "INBOX", 3)
    c.ok("RENAME INBOX old")
    assert status(c, "old", "MESSAGES") == {"MESSAGES": 3}
    assert status(c, "INBOX", "MESSAGES") == {"MESSAGES": 0}
    assert b"INBOX/kept" in names(c)
    assert c.run("RENAME INBOX old").text.startswith(b"[ALREADYEXISTS]")


def test_rename_of_a_selected_mailbox(imap_account):
    a, b = imap_account.open(), imap_account.open()
    a.ok("CREATE box")
    fill(a, "box", 2)
    b.ok("SELECT box")
    a.ok("RENAME box elsewhere")
    assert b.fetch("1:*", "UID") == {1: {"UID": b"1"}, 2: {"UID": b"2"}}


def test_subscriptions(c):
    c.ok("CREATE list/one")
    assert c.run("SUBSCRIBE missing").text.startswith(b"[NONEXISTENT]")
    c.ok("SUBSCRIBE list/one")
    c.ok("SUBSCRIBE list/one")
    c.ok("DELETE list/one")
    # It outlives its mailbox (RFC 3501 section 6.3.6).
    assert any(x.endswith(b" list/one") for x in c.ok('LSUB "" "*"').lines("LSUB"))
    c.ok("UNSUBSCRIBE list/one")
    c.ok("UNSUBSCRIBE list/one")
    assert not any(x.endswith(b" list/one") for x in c.ok('LSUB "" "*"').lines("LSUB"))


def test_status(imap_account):
    c = imap_account.open()
    c.ok("CREATE box")
    fill(c, "box", 2)
    fill(c, "box", 1, "\\Seen")
    fill(c, "box", 1, "\\Seen \\Deleted")
    size = len(MESSAGE)
    assert status(c, "box", "MESSAGES", "RECENT", "UIDNEXT", "UNSEEN", "SIZE", "DELETED",
                  "DELETED-STORAGE", "APPENDLIMIT") == {
        "MESSAGES": 4, "RECENT": 4, "UIDNEXT": 5, "UNSEEN": 2, "SIZE": 4 * size, "DELETED": 1,
        "DELETED-STORAGE": size, "APPENDLIMIT": 50 * 1024 * 1024}
    before = status(c, "box", "HIGHESTMODSEQ")["HIGHESTMODSEQ"]
    # Whoever selects it takes \Recent.
    other = imap_account.open("box")
    other.ok("STORE 1 +FLAGS (\\Seen)")
    now = status(c, "box", "RECENT", "UNSEEN", "HIGHESTMODSEQ")
    assert now["RECENT"] == 0 and now["UNSEEN"] == 1 and now["HIGHESTMODSEQ"] > before
    for bad in ("STATUS box", "STATUS box ()", "STATUS box (NOTHING)", "STATUS box (MESSAGES",
                "STATUS box MESSAGES", "STATUS (MESSAGES)", "STATUS box (MESSAGES) x"):
        assert c.run(bad).status == "BAD", bad


def test_pipelined_status_sees_what_came_before(imap_account):
    """Commands that wait are read ahead, and never answered with what was true before a change."""
    c, other = imap_account.open(), imap_account.open()
    c.ok("CREATE a")
    c.ok('CREATE "b&APw-"')
    one = b"APPEND a {%d+}\r\n" % len(MESSAGE) + MESSAGE
    commands = []
    for _ in range(5):
        commands += [b"STATUS a (MESSAGES)", b'STATUS "b&APw-" (MESSAGES)', b"STATUS no (MESSAGES)",
                     b"STATUS a (MESSAGES RECENT)", one, b"STATUS a (MESSAGES)",
                     b"STATUS a", b"STATUS a (MESSAGES)"]
    c.send(b"".join(b"p%d %s\r\n" % item for item in enumerate(commands)))
    for n, command in enumerate(commands):
        answer = c.finish(b"p%d" % n)
        count = n // 8 + (n % 8 > 4)
        if command == b"STATUS a (MESSAGES)":
            assert answer.untagged == [b"STATUS a (MESSAGES %d)" % count], n
        elif b"RECENT" in command:
            assert answer.untagged == [b"STATUS a (MESSAGES %d RECENT %d)" % (count, count)], n
        elif b"b&APw-" in command:
            assert answer.untagged == [b"STATUS b&APw- (MESSAGES 0)"]
        elif b" no " in command:
            assert answer.status == "NO" and answer.text.startswith(b"[NONEXISTENT]")
        elif command == b"STATUS a":
            assert answer.status == "BAD"
    # Another session's change counts from its answer on.
    for n in range(20):
        other.append("a", MESSAGE)
        c.send(b"".join(b"q%d STATUS a (MESSAGES)\r\n" % i for i in range(3)))
        for i in range(3):
            assert c.finish(b"q%d" % i).untagged == [b"STATUS a (MESSAGES %d)" % (6 + n)]
