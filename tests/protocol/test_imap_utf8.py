"""UTF8=ACCEPT (RFC 6855) and what clients without it get of internationalized messages (RFC 6858)."""
import email
import email.policy
import re

import pytest

from appliance import PASSWORD
from imap import Imap, fetched, parse
from imap_account import MESSAGE

INVALID = b"<invalid@internationalized-address.invalid>"
LETTER = ("From: Jürgen <jürgen@bücher.example>\r\n"
          "To: Grüße <plain@example.test>\r\n"
          "Subject: Über alles\r\n"
          "X-Ünbekannt: ü\r\nX-Plain: x\r\n"
          "Message-ID: <1@example.test>\r\n"
          "MIME-Version: 1.0\r\n"
          "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
          "--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
          "\r\nKörper\r\n"
          "--b\r\nContent-Type: text/plain\r\n"
          "Content-Disposition: attachment; filename=\"größe.txt\"\r\n\r\nx\r\n"
          "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: Innen ä\r\n\r\nText\r\n"
          "--b--\r\n").encode()


@pytest.fixture
def modern(imap_account):
    session = imap_account.open()
    session.enabled = session.ok("ENABLE UTF8=ACCEPT").untagged
    return session


@pytest.fixture
def old(imap_account):
    return imap_account.open()


def append_utf8(c, mailbox, *letters):
    """APPEND mailbox UTF8 (~{n} ...), each literal after its "+"."""
    line = f"u1 APPEND {mailbox}".encode()
    for letter in letters:
        c.send(line + b" (\\Flagged) UTF8 (~{%d}\r\n" % len(letter))
        go = c.read_line()
        if not go.startswith(b"+"):
            return go
        c.send(letter)
        line = b")"
    c.send(line + b"\r\n")
    while True:
        go = c.read_line()
        if not go.startswith(b"* "):
            return go


def test_it_is_told_and_enabled(modern, old):
    assert modern.enabled == [b"ENABLED UTF8=ACCEPT"]
    assert b" UTF8=ACCEPT " in old.ok("CAPABILITY").untagged[0] + b" "


def test_mailbox_names(modern, old):
    modern.ok('CREATE "Ärger/über & \\"Co\\\\"')
    modern.ok(("CREATE ", "Ze\u0308bra".encode()))     # NFC on the way in
    modern.ok('SUBSCRIBE "Ärger/über & \\"Co\\\\"')
    names = [line for line in modern.ok('LIST "" "%r/*"').untagged]
    assert names == ['LIST (\\HasNoChildren) "/" "Ärger/über & \\"Co\\\\"'.encode()]
    assert modern.ok('LSUB "" "Ä*"').untagged == ['LSUB () "/" "Ärger/über & \\"Co\\\\"'.encode()]
    assert modern.ok('LIST "Är" "ger"').untagged == [
        'LIST (\\HasChildren) "/" "Ärger"'.encode()]
    assert modern.ok('STATUS "Ärger" (MESSAGES)').untagged == [
        'STATUS "Ärger" (MESSAGES 0)'.encode()]
    assert 'QUOTAROOT "Ärger"'.encode() in modern.ok('GETQUOTAROOT "Ärger"').untagged[0]
    modern.ok('SELECT "Z\u00ebbra"')
    # The others see modified UTF-7, which is no name for those with UTF-8.
    assert old.ok('LIST "" "&AMQ-rger"').untagged == [b'LIST (\\HasChildren) "/" &AMQ-rger']
    assert old.ok("STATUS Z&AOs-bra (MESSAGES)").status == "OK"
    assert modern.run("SELECT Z&AOs-bra").status == "NO"
    modern.ok("CREATE a&AOs-b")
    assert old.ok("LIST \"\" a*").untagged == [b'LIST (\\HasNoChildren) "/" a&-AOs-b']
    modern.ok('RENAME "Ärger/über & \\"Co\\\\" "日本語"')
    assert b"&ZeVnLIqe-" in old.ok("LIST \"\" \"*\"").untagged[-1]


def test_search(modern):
    modern.append("INBOX", MESSAGE)
    assert append_utf8(modern, "INBOX", LETTER).startswith(b"u1 OK [APPENDUID ")
    modern.ok("SELECT INBOX")
    assert modern.search('SUBJECT "über"') == [2]
    assert modern.search('FROM "jürgen@bücher"') == [2]
    assert modern.search(("BODY ", "KÖRPER".encode())) == [2]
    assert modern.search('KEYWORD x OR SUBJECT "ÜBER" SUBJECT "one"') == []
    assert modern.run('SEARCH CHARSET UTF-8 SUBJECT "über"').status == "BAD"
    assert modern.ok('SORT (SUBJECT) UTF-8 SUBJECT "über"').untagged[0] == b"SORT 2"


def test_append(modern, old):
    assert append_utf8(old, "INBOX", LETTER).startswith(b"u1 BAD")
    answer = append_utf8(modern, "INBOX", LETTER, LETTER)
    assert re.match(rb"u1 OK \[APPENDUID \d+ 1:2\]", answer), answer
    modern.ok("SELECT INBOX")
    got = modern.fetch("1:*", "(FLAGS RFC822.SIZE BODY.PEEK[] ENVELOPE)")
    for number in (1, 2):
        assert got[number]["BODY[]"] == LETTER
        assert int(got[number]["RFC822.SIZE"]) == len(LETTER)
        assert set(got[number]["FLAGS"]) == {b"\\Flagged", b"\\Recent"}
        assert got[number]["ENVELOPE"][1] == "Über alles".encode()


@pytest.mark.parametrize("line", [b"UTF8 ({6+}\r\na: b\r\n)", b"UTF8 ~{6+}\r\na: b\r\n",
                                  b"UTF8(~{6+}\r\na: b\r\n)", b"UTF8 (~{6+}\r\na: b\r\n",
                                  b"UTF8 (~{6+}\r\na: b\r\n) ", b"UTF8 (~{6+}\r\na: b\r\n))",
                                  b"UTF8 (~{6+}\r\na: b\r\n) {6+}\r\na: b\r\n)"])
def test_broken_appends(modern, line):
    modern.send(b"b1 APPEND INBOX " + line + b"\r\n")
    answer = modern.read_line()
    assert answer.startswith(b"b1 BAD"), answer
    assert modern.ok("STATUS INBOX (MESSAGES)").untagged == [b"STATUS INBOX (MESSAGES 0)"]


def check_consistent(c, number):
    """Size, header, text and parts are of one message; that message."""
    answer = c.ok(f"FETCH {number} (RFC822.SIZE BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] "
                  "ENVELOPE BODYSTRUCTURE BODY.PEEK[1] BODY.PEEK[2] BODY.PEEK[2.MIME] "
                  "BODY.PEEK[3] BODY.PEEK[3.HEADER] BINARY.PEEK[1] BINARY.SIZE[1])")
    got = fetched(answer)[number]
    whole = got["BODY[]"]
    assert int(got["RFC822.SIZE"]) == len(whole)
    assert got["BODY[HEADER]"] + got["BODY[TEXT]"] == whole
    for name, item in (("1", "BODY[1]"), ("2", "BODY[2]"), ("3", "BODY[3]"), ("h", "BODY[3.HEADER]"),
                       ("m", "BODY[2.MIME]")):
        assert got[item] in whole, name
    sizes = [part[6] for part in got["BODYSTRUCTURE"][:3]]
    assert [int(n) for n in sizes] == [len(got[f"BODY[{n}]"]) for n in (1, 2, 3)]
    assert int(got["BINARY.SIZE[1]"]) == len(got["BINARY[1]"])
    pieces = b""
    for at in range(0, len(whole), 97):
        pieces += c.fetch(number, f"BODY.PEEK[]<{at}.97>")[number][f"BODY[]<{at}>"]
    assert pieces == whole
    assert int(c.fetch(number, "(FLAGS RFC822.SIZE)")[number]["RFC822.SIZE"]) == len(whole)
    fields = c.fetch(number, "BODY.PEEK[HEADER.FIELDS (SUBJECT)]")[number]
    assert list(fields.values())[0].strip() in whole
    return whole, got, answer


def test_downgrade(modern, old):
    append_utf8(modern, "INBOX", LETTER)
    modern.append("INBOX", LETTER)          # an old one with bytes in its header stays as it is
    old.ok("SELECT INBOX")
    whole, got, answer = check_consistent(old, 1)
    assert answer.text.startswith(b"[DOWNGRADED 1] ")
    head = whole.split(b"\r\n\r\n")[0]
    assert head.isascii() and got["BODY[2.MIME]"].isascii() and got["BODY[3.HEADER]"].isascii()
    assert INVALID in head and b"X-Plain: x\r\n" in head and b"nbekannt" not in head
    parsed = email.message_from_bytes(whole, policy=email.policy.default)
    assert parsed["Subject"] == "Über alles"
    assert parsed["From"].addresses[0].display_name == "Jürgen"
    assert parsed["To"] == "Grüße <plain@example.test>"
    parts = list(parsed.iter_parts())
    assert parts[0].get_content() == "Körper"
    assert parts[1].get_filename() == "größe.txt"
    assert parts[2].get_content()["Subject"] == "Innen ä"
    assert got["ENVELOPE"][1] == b"=?utf-8?B?w5xiZXIgYWxsZXM=?="
    assert got["ENVELOPE"][2] == [[b"=?utf-8?B?SsO8cmdlbg==?=", None, b"invalid",
                                   b"internationalized-address.invalid"]]
    whole, _, answer = check_consistent(old, 2)
    assert whole == LETTER and b"DOWNGRADED" not in answer.text
    # Flags alone need no message.
    assert b"DOWNGRADED" not in old.ok("FETCH 1:2 (FLAGS UID INTERNALDATE)").text
    assert old.ok("UID FETCH 1:* RFC822.SIZE").text.startswith(b"[DOWNGRADED 1]")
    # The same message in the session with UTF-8, and found by its own words in both.
    modern.ok("SELECT INBOX")
    assert check_consistent(modern, 1)[0] == LETTER
    assert old.search(("CHARSET UTF-8 SUBJECT ", "über".encode())) == [1, 2]


def test_it_stays_one(modern, old):
    """Copied, moved, flagged, replaced: it is an internationalized message for good."""
    append_utf8(modern, "INBOX", LETTER)
    modern.ok("CREATE box")
    modern.ok("SELECT INBOX")
    modern.ok("COPY 1 box")
    modern.ok("STORE 1 FLAGS (\\Seen $x)")
    modern.ok("MOVE 1 box")
    modern.ok("SELECT box")
    modern.ok("STORE 1:2 FLAGS.SILENT (\\Answered)")
    modern.send(b"u2 UID REPLACE 1 box UTF8 (~{%d+}\r\n" % len(LETTER) + LETTER + b")\r\n")
    while not modern.read_line().startswith(b"u2 OK"):
        pass
    old.ok("SELECT box")
    answer = old.ok("FETCH 1:* (UID FLAGS BODY.PEEK[HEADER])")
    assert answer.text.startswith(b"[DOWNGRADED 2:3]")
    got = fetched(answer)
    assert all(got[n]["BODY[HEADER]"].isascii() for n in got) and len(got) == 2
    assert set(got[1]["FLAGS"]) == {b"\\Answered"}


def test_many_among_others(modern, old):
    """A long FETCH changes between the loop and the readers without losing its place."""
    for n in range(12):
        if n % 3:
            modern.append("INBOX", MESSAGE)
        else:
            append_utf8(modern, "INBOX", LETTER)
    old.ok("SELECT INBOX")
    sizes = {n: int(got["RFC822.SIZE"]) for n, got in old.fetch("1:*", "(FLAGS RFC822.SIZE)").items()}
    bodies = {n: len(got["BODY[]"]) for n, got in old.fetch("1:*", "BODY.PEEK[]").items()}
    assert sizes == bodies and len(sizes) == 12 and len(set(sizes.values())) == 2


def test_an_answer_line_is_parsed_again(modern):
    """What is told in UTF-8 are strings that IMAP's syntax has."""
    modern.ok('CREATE "a\u2028b"')
    line = modern.ok('LIST "" "a*"').untagged[0]
    assert parse(line)[-1] == "a\u2028b".encode()


def test_login_is_the_same(appliance, imap_account):
    with Imap(appliance.connect("imaps")) as c:
        c.login(imap_account.address, PASSWORD)
        assert c.ok("ENABLE CONDSTORE UTF8=ACCEPT X").untagged == [
            b"ENABLED CONDSTORE UTF8=ACCEPT"]
