"""FETCH: every item, exact bytes, \\Seen, and what happens when things go wrong."""
import base64
import glob
import os
import random

import pytest

from imap import fetched, parse
from imap_account import status

NESTED = (b"From: Bob <bob@example.test>\r\nTo: alice@example.test\r\nSubject: outer\r\n"
          b"Date: Thu, 1 Jan 2026 10:00:00 +0100\r\nMessage-ID: <outer@x>\r\n"
          b"Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n"
          b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n"
          b"Content-Transfer-Encoding: base64\r\n\r\nSMOkbGxvIFdlbHQ=\r\n"
          b"--b\r\nContent-Type: message/rfc822\r\n\r\n"
          b"Subject: inner\r\nFrom: i@x\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n"
          b"--c\r\n\r\ninner plain\r\n--c\r\nContent-Type: text/html\r\n\r\n<b>inner</b>\r\n"
          b"--c--\r\n"
          b"--b--\r\nepilogue\r\n")
PLAIN = b"From: a@x\r\nSubject: two\r\n\r\nbody of two\r\n"
INNER = NESTED[NESTED.index(b"Subject: inner"):NESTED.index(b"\r\n--b--")]


@pytest.fixture
def c(imap_account):
    session = imap_account.open()
    session.append("INBOX", NESTED, "\\Flagged $Work", date="02-Feb-2024 01:02:03 +0000")
    session.append("INBOX", PLAIN)
    session.ok("SELECT INBOX")
    return session


def one(session, items, number=1):
    return session.fetch(number, items)[number]


def large(size, seed=1):
    """A message with an attachment: random, so that it compresses to a file of its own."""
    data = base64.encodebytes(random.Random(seed).randbytes(size * 3 // 4)).replace(b"\n", b"\r\n")
    return (b"From: a@x\r\nSubject: large\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
            b"--b\r\nContent-Type: text/plain\r\n\r\nsmall text\r\n"
            b"--b\r\nContent-Type: application/octet-stream\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\n" + data + b"--b--\r\n")


# --- items ---------------------------------------------------------------------------------------
def test_macros(c):
    fast = one(c, "FAST")
    assert list(fast) == ["FLAGS", "INTERNALDATE", "RFC822.SIZE"]
    assert fast["INTERNALDATE"] == b"02-Feb-2024 01:02:03 +0000"
    assert fast["RFC822.SIZE"] == b"%d" % len(NESTED)
    assert {b"\\Flagged", b"$Work"} <= set(fast["FLAGS"])
    assert list(one(c, "all")) == ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"]
    assert list(one(c, "Full"))[-1] == "BODY"


def test_envelope(c):
    bob = [[b"Bob", None, b"bob", b"example.test"]]
    assert one(c, "ENVELOPE")["ENVELOPE"] == [
        b"Thu, 1 Jan 2026 10:00:00 +0100", b"outer", bob, bob, bob,
        [[None, None, b"alice", b"example.test"]], None, None, None, b"<outer@x>"]


def test_structure(c):
    body = one(c, "(BODY BODYSTRUCTURE)")
    text = [b"text", b"plain", [b"charset", b"utf-8"], None, None, b"base64", b"16", b"0"]
    assert body["BODY"][0] == text
    assert body["BODY"][2] == b"mixed"
    message = body["BODY"][1]
    assert message[:2] == [b"message", b"rfc822"] and message[6] == b"%d" % len(INNER)
    assert message[7][1] == b"inner" and message[8][2] == b"alternative"
    assert body["BODYSTRUCTURE"][0] == text + [None, None, None, None]
    assert body["BODYSTRUCTURE"][3] == [b"boundary", b"b"]


def test_sections(c):
    header = NESTED[:NESTED.index(b"\r\n\r\n") + 4]
    text = INNER[INNER.index(b"\r\n\r\n") + 4:]
    want = {
        "BODY[]": NESTED, "BODY[HEADER]": header, "BODY[TEXT]": NESTED[len(header):],
        "BODY[1]": b"SMOkbGxvIFdlbHQ=",
        "BODY[1.MIME]": b"Content-Type: text/plain; charset=utf-8\r\n"
                        b"Content-Transfer-Encoding: base64\r\n\r\n",
        "BODY[2]": INNER, "BODY[2.MIME]": b"Content-Type: message/rfc822\r\n\r\n",
        "BODY[2.HEADER]": INNER[:-len(text)], "BODY[2.TEXT]": text,
        "BODY[2.1]": b"inner plain", "BODY[2.1.MIME]": b"\r\n", "BODY[2.2]": b"<b>inner</b>",
        "BODY[2.2.MIME]": b"Content-Type: text/html\r\n\r\n",
        "BODY[3]": None, "BODY[1.1]": None, "BODY[1.HEADER]": None, "BODY[2.3]": None,
        "BODY[2.HEADER.FIELDS (subject X)]": b"Subject: inner\r\n\r\n",
        "BODY[HEADER.FIELDS (Subject FROM)]":
            b"From: Bob <bob@example.test>\r\nSubject: outer\r\n\r\n",
        "BODY[HEADER.FIELDS (X-None)]": b"\r\n",
        "BODY[HEADER.FIELDS.NOT (From To Date Message-ID Content-Type)]":
            b"Subject: outer\r\n\r\n",
    }
    items = " ".join(k.replace("[", ".PEEK[", 1) for k in want)
    assert one(c, f"({items})") == want
    got = one(c, "(RFC822.HEADER RFC822.TEXT RFC822)")
    assert got["RFC822.HEADER"] == header
    assert got["RFC822.TEXT"] == NESTED[len(header):]
    assert got["RFC822"] == NESTED


def test_partial(c):
    for at, n in ((0, 10), (5, 20), (len(NESTED) - 3, 10), (len(NESTED), 1), (100000, 7),
                  (4294967295, 4294967295)):
        got = one(c, f"(BODY.PEEK[]<{at}.{n}> BODY.PEEK[2]<{at}.{n}>)")
        assert got == {f"BODY[]<{at}>": NESTED[at:at + n], f"BODY[2]<{at}>": INNER[at:at + n]}
    got = one(c, "(BODY.PEEK[HEADER.FIELDS (Subject)]<3.5> BODY.PEEK[9]<0.5>)")
    assert got == {"BODY[HEADER.FIELDS (Subject)]<3>": b"ject:", "BODY[9]<0>": None}


def test_uid_fetch_names_uids(c):
    answer = c.ok("UID FETCH 1:* (FLAGS)")
    assert {n: v["UID"] for n, v in fetched(answer).items()} == {1: b"1", 2: b"2"}
    assert list(fetched(c.ok("UID FETCH 2 (FLAGS UID)"))[2]) == ["UID", "FLAGS"]
    # UIDs that are not there are no error; '*' is always the last message.
    assert fetched(c.ok("UID FETCH 77:99 (FLAGS)")) == {}
    assert set(fetched(c.ok("UID FETCH 99:* (FLAGS)"))) == {2}
    assert c.run("FETCH 3 (FLAGS)").status == "BAD"


BAD = ("1", "1 ", "1 ()", "1 (FLAGS", "1 FLAGS)", "1 (FLAGS  UID)", "1 (ALL)", "1 (FLAGS FAST)",
       "1 NOTHING", "1 BODY[", "1 BODY[]x", "1 BODY[0]", "1 BODY[1.0]", "1 BODY[MIME]",
       "1 BODY[HEADER.FIELDS]", "1 BODY[HEADER.FIELDS ()]", "1 BODY[HEADER.FIELDS (a]",
       "1 BODY[HEADER.FIELDS a]", "1 BODY[TEXT.1]", "1 BODY[]<1>", "1 BODY[]<1.0>",
       "1 BODY[]<-1.5>", "1 BODY[]<1.5", "1 BODY[]<4294967296.1>", "1 BODY.PEEK", "1 RFC822.SIZE[]",
       "1 BINARY[TEXT]", "1 BINARY[1.MIME]", "1 BINARY.SIZE[1]<0.5>", "1 PREVIEW (EAGER)",
       "1 FLAGS (CHANGEDSINCE)", "1 FLAGS (CHANGEDSINCE x)", "1 FLAGS (VANISHED)",
       "1 FLAGS (CHANGEDSINCE 1 VANISHED)", "1 FLAGS (CHANGEDSINCE 1 CHANGEDSINCE 1)",
       "0 FLAGS", "1: FLAGS", ",1 FLAGS", "1,, FLAGS", "x FLAGS", "4294967296 FLAGS",
       "1 BODY[" + "1." * 70 + "1]")


@pytest.mark.parametrize("arguments", BAD)
def test_bad_arguments(appliance, bad_session, arguments):
    assert bad_session.run(f"FETCH {arguments}").status == "BAD"
    bad_session.ok("NOOP")


@pytest.fixture(scope="module")
def bad_session(appliance):
    from imap_account import ImapAccount
    account = ImapAccount(appliance)
    session = account.open()
    session.append("INBOX", PLAIN)
    session.ok("SELECT INBOX")
    yield _Reopen(account, session)
    account.close()


class _Reopen:
    """A session that says too much nonsense is closed: then another one goes on."""

    def __init__(self, account, session):
        self.account = account
        self.session = session

    def run(self, command):
        return self.session.run(command)

    def ok(self, command):
        try:
            return self.session.ok(command)
        except (EOFError, ConnectionError):
            self.session = self.account.open("INBOX")
            return None


def test_an_empty_mailbox(imap_account):
    session = imap_account.open("Drafts")
    assert fetched(session.ok("UID FETCH 1:* (FLAGS BODY[])")) == {}


# --- \Seen ---------------------------------------------------------------------------------------
def test_what_makes_messages_seen(c, imap_account):
    other = imap_account.open("INBOX")
    for items in ("BODY.PEEK[]", "BODY.PEEK[1]<0.5>", "RFC822.HEADER", "ENVELOPE", "BODY",
                  "BINARY.PEEK[1]", "BINARY.SIZE[1]", "PREVIEW", "BODYSTRUCTURE"):
        assert "FLAGS" not in one(c, items)
    assert status(c, "INBOX", "UNSEEN") == {"UNSEEN": 2}
    for number, items in ((1, "BODY[1]"), (2, "RFC822.TEXT")):
        got = one(c, items, number)
        assert b"\\Seen" in got["FLAGS"]
        # Once it is so there is nothing to tell.
        assert "FLAGS" not in one(c, items, number)
    assert status(c, "INBOX", "UNSEEN") == {"UNSEEN": 0}
    heard = fetched(other.ok("NOOP"))
    assert b"\\Seen" in heard[1]["FLAGS"] and b"\\Seen" in heard[2]["FLAGS"]
    assert fetched(c.ok("NOOP")) == {}


@pytest.mark.parametrize("items", ("BODY[]", "RFC822", "BODY[HEADER]<0.2>", "BINARY[1]",
                                   "BODY[7]"))
def test_these_do(c, items):
    assert b"\\Seen" in one(c, f"(UID FLAGS {items})", 2)["FLAGS"]
    assert status(c, "INBOX", "UNSEEN") == {"UNSEEN": 1}


def test_examine_changes_nothing(c, imap_account):
    reader = imap_account.open()
    reader.ok("EXAMINE INBOX")
    assert list(one(reader, "BODY[]")) == ["BODY[]"]
    assert status(reader, "INBOX", "UNSEEN") == {"UNSEEN": 2}


def test_many_become_seen(imap_account):
    """More than one batch."""
    session = imap_account.open()
    session.ok(("APPEND INBOX ", PLAIN, *(part for _ in range(599) for part in (" ", PLAIN))))
    session.ok("SELECT INBOX")
    session.ok("STORE 100:200 +FLAGS.SILENT (\\Seen)")
    got = session.fetch("1:*", "(BODY[TEXT])")
    assert len(got) == 600
    assert {n for n, v in got.items() if "FLAGS" in v} == set(range(1, 601)) - set(range(100, 201))
    assert status(session, "INBOX", "UNSEEN") == {"UNSEEN": 0}


# --- exact bytes ---------------------------------------------------------------------------------
def test_any_bytes(imap_account):
    session = imap_account.open()
    messages = [b"Subject: bare\n\nlf only\nline\n", b"\r\n", b"\n", b"x", b"Subject: none",
                b"Subject: 8 bit \xe9\r\n\r\n" + bytes(range(1, 256)) * 3,
                b"Subject: cr\r\n\r\na\rb\r\r\nc\n\r\n"]
    for message in messages:
        session.append("INBOX", message)
    session.ok("SELECT INBOX")
    got = session.fetch("1:*", "(RFC822.SIZE BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT])")
    for i, message in enumerate(messages, 1):
        assert got[i]["BODY[]"] == message
        assert got[i]["RFC822.SIZE"] == b"%d" % len(message)
        assert got[i]["BODY[HEADER]"] + got[i]["BODY[TEXT]"] == message


def test_nul_comes_in_a_literal8(imap_account):
    """RFC 3516: no other string can hold one."""
    session = imap_account.open()
    session.append("INBOX", b"Content-Transfer-Encoding: base64\r\n\r\nYQBi\r\n")
    session.ok("SELECT INBOX")
    answer = session.ok("FETCH 1 (BINARY.PEEK[1])")
    assert answer.untagged == [b"1 FETCH (BINARY[1] ~{3}\r\na\0b)"]


@pytest.mark.parametrize("size", (1024 * 1024 - 600, 1024 * 1024 + 5000, 3 * 1024 * 1024))
def test_large_messages(imap_account, size):
    session = imap_account.open()
    message = large(size)
    session.append("INBOX", message)
    session.append("INBOX", PLAIN)
    session.ok("SELECT INBOX")
    start = message.index(b"base64\r\n\r\n") + 10
    attachment = message[start:message.index(b"\r\n--b--")]
    decoded = base64.b64decode(attachment)
    got = session.fetch("1:2", "(RFC822.SIZE BODY.PEEK[] BODY.PEEK[2] BINARY.PEEK[2]"
                        " BINARY.SIZE[2] BODY.PEEK[1] BODY.PEEK[HEADER.FIELDS (Received Subject)])")
    assert got[1]["BODY[]"] == message and got[2]["BODY[]"] == PLAIN
    assert got[1]["BODY[2]"] == attachment and got[2]["BODY[2]"] is None
    assert got[1]["BINARY[2]"] == decoded
    assert got[1]["BINARY.SIZE[2]"] == b"%d" % len(decoded)
    assert got[1]["BODY[1]"] == b"small text"
    assert got[1]["BODY[HEADER.FIELDS (Received Subject)]"] == b"Subject: large\r\n\r\n"
    rng = random.Random(size)
    for _ in range(5):
        at, n = rng.randrange(len(attachment)), rng.randrange(1, 300000)
        got = one(session, f"(BODY.PEEK[2]<{at}.{n}> BODY.PEEK[]<{at}.{n}> BINARY.PEEK[2]<{at}.{n}>)")
        assert got[f"BODY[2]<{at}>"] == attachment[at:at + n]
        assert got[f"BODY[]<{at}>"] == message[at:at + n]
        assert got[f"BINARY[2]<{at}>"] == decoded[at:at + n]


def test_the_same_item_many_times(imap_account):
    """The answer is many times the message, and nobody holds it as a whole."""
    session = imap_account.open()
    message = large(1200000)
    session.append("INBOX", message)
    session.ok("SELECT INBOX")
    answer = session.ok("FETCH 1 (" + " ".join(["BODY.PEEK[]"] * 20) + ")")
    tokens = parse(answer.untagged[0].split(b" ", 2)[2])[0]
    assert len(tokens) == 40 and all(x == message for x in tokens[1::2])


def test_long_headers(imap_account):
    """Longer than what cache rows keep: the body is asked."""
    session = imap_account.open()
    refs = b"".join(b" <%d.reference@example.test>\r\n" % n for n in range(1000))
    message = (b"From: a@x\r\nReferences:" + refs + b"Subject: long\r\nX-Other: 1\r\n\r\ntext\r\n")
    session.append("INBOX", message)
    session.ok("SELECT INBOX")
    assert one(session, "BODY.PEEK[HEADER.FIELDS (References)]") == {
        "BODY[HEADER.FIELDS (References)]": b"References:" + refs + b"\r\n"}
    assert one(session, "BODY.PEEK[HEADER.FIELDS (subject x-other)]") == {
        "BODY[HEADER.FIELDS (subject x-other)]": b"Subject: long\r\nX-Other: 1\r\n\r\n"}


def test_fields_from_the_cache_and_from_the_body(imap_account):
    """Names that cache rows keep, names that they do not, repeated, folded, broken ones."""
    session = imap_account.open()
    fields = [b"Received: from a\r\n\tby b\r\n", b"From: a@x\r\n", b"no colon here\r\n",
              b"To : b@x,\r\n c@x\r\n", b"Received: from c\r\n", b"SUBJECT: s\r\n",
              b"X-Priority: 1\r\n", b"from: second@x\r\n", b"List-Id:\r\n <l.x>\r\n",
              b"X-Private: p\r\n", b"Date: none\r\n"]
    session.append("INBOX", b"".join(fields) + b"\r\ntext\r\n")
    session.ok("SELECT INBOX")
    names = [f.split(b":")[0].strip().lower() if b":" in f.split(b"\r\n")[0] else b"" for f in fields]
    rng = random.Random(3)
    known = sorted({n for n in names if n} | {b"cc", b"x-nothing", b"message-id"})
    for _ in range(40):
        chosen = rng.sample(known, rng.randint(1, 4))
        text = b" ".join(rng.choice((n, n.upper())) for n in chosen).decode()
        got = one(session, f"(BODY.PEEK[HEADER.FIELDS ({text})] BODY.PEEK[HEADER.FIELDS.NOT ({text})])")
        kept = b"".join(f for f, n in zip(fields, names) if n in chosen)
        rest = b"".join(f for f, n in zip(fields, names) if n not in chosen)
        assert list(got.values()) == [kept + b"\r\n", rest + b"\r\n"]


# --- BINARY --------------------------------------------------------------------------------------
def test_binary(c):
    text = "Hällo Welt".encode()
    got = one(c, "(BINARY.PEEK[1] BINARY.SIZE[1] BINARY.PEEK[1]<2.3> BINARY.PEEK[1]<50.3>"
              " BINARY.PEEK[2] BINARY.PEEK[7] BINARY.SIZE[7] BINARY.PEEK[])")
    assert got == {"BINARY[1]": text, "BINARY.SIZE[1]": b"%d" % len(text),
                   "BINARY[1]<2>": text[2:5], "BINARY[1]<50>": b"", "BINARY[2]": INNER,
                   "BINARY[7]": None, "BINARY.SIZE[7]": b"0", "BINARY[]": NESTED}


def test_an_encoding_that_nobody_knows(imap_account):
    session = imap_account.open()
    session.append("INBOX", b"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-mine\r\n"
                   b"\r\nabc\r\n")
    session.append("INBOX", PLAIN)
    session.ok("SELECT INBOX")
    answer = session.run("FETCH 1:2 (BINARY.PEEK[1])")
    assert answer.status == "NO" and answer.text.startswith(b"[UNKNOWN-CTE]")
    assert fetched(answer) == {2: {"BINARY[1]": b"body of two\r\n"}}
    assert one(session, "BODY.PEEK[1]")["BODY[1]"] == b"abc\r\n"


# --- CONDSTORE and QRESYNC -----------------------------------------------------------------------
def test_modseq(c):
    answer = c.ok("FETCH 1:2 (MODSEQ)")
    assert any(b"HIGHESTMODSEQ" in line for line in answer.untagged)  # it is enabled by this
    before = {n: int(v["MODSEQ"][0]) for n, v in fetched(answer).items()}
    c.ok("STORE 2 +FLAGS.SILENT (\\Answered)")
    answer = c.ok(f"FETCH 1:* (FLAGS) (CHANGEDSINCE {max(before.values())})")
    changed = fetched(answer)
    assert set(changed) == {2} and int(changed[2]["MODSEQ"][0]) > max(before.values())
    # What becomes \Seen has its new modseq in the answer.
    got = one(c, "(BODY[1])")
    assert int(got["MODSEQ"][0]) > int(changed[2]["MODSEQ"][0])
    assert one(c, "MODSEQ") == {"MODSEQ": got["MODSEQ"]}


def test_vanished(imap_account):
    session = imap_account.open()
    for _ in range(10):
        session.append("INBOX", PLAIN)
    session.ok("ENABLE QRESYNC")
    answer = session.ok("SELECT INBOX")
    since = [x for x in answer.untagged if b"HIGHESTMODSEQ" in x][0].split(b"]")[0].split()[-1]
    session.ok("STORE 3,4,10 +FLAGS.SILENT (\\Deleted)")
    session.ok("EXPUNGE")
    session.ok("STORE 1 +FLAGS.SILENT (\\Flagged)")
    answer = session.ok(f"UID FETCH 1:500 (FLAGS) (CHANGEDSINCE {since.decode()} VANISHED)")
    assert answer.lines("VANISHED") == [b"VANISHED (EARLIER) 3:4,10"]
    assert {v["UID"] for v in fetched(answer).values()} == {b"1"}
    answer = session.ok(f"UID FETCH 4:9 (FLAGS) (CHANGEDSINCE {since.decode()} VANISHED)")
    assert answer.lines("VANISHED") == [b"VANISHED (EARLIER) 4"]
    assert session.run("FETCH 1 (FLAGS) (CHANGEDSINCE 1 VANISHED)").status == "BAD"


# --- PREVIEW, SAVEDATE, OBJECTID -----------------------------------------------------------------
def test_preview(imap_account):
    session = imap_account.open()
    messages = (
        (b"Subject: x\r\n\r\n> quoted\r\n\r\n  Hello,\r\n\tworld \r\n", "Hello, world"),
        (b"Subject: x\r\n\r\n> only quoted\r\n", "> only quoted"),
        (b"Subject: x\r\n\r\n", ""),
        (b"Content-Type: text/html; charset=utf-8\r\n\r\n<html><head><title>no</title><style>p{}"
         b"</style></head><body><!-- no --><p>Gr&uuml;n &amp; blau&#33;<br>next</p>", "Gr&uuml;n & "
         "blau! next"),
        (b"Content-Type: image/png\r\n\r\nabc\r\n", ""),
        (NESTED, "Hällo Welt"),
        (b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: "
         b"quoted-printable\r\n\r\n" + b"=E4" * 300 + b"\r\n", "ä" * 200),
    )
    for message, _ in messages:
        session.append("INBOX", message)
    session.append("INBOX", large(1300000))
    session.ok("SELECT INBOX")
    got = session.fetch("1:*", "(PREVIEW)")
    assert [got[i + 1]["PREVIEW"].decode() for i in range(len(messages))] == [
        text for _, text in messages]
    assert got[len(messages) + 1]["PREVIEW"] == b"small text"
    lazy = session.fetch("1:*", "(PREVIEW (LAZY))")
    assert lazy[1]["PREVIEW"] == b"Hello, world"
    assert lazy[len(messages) + 1]["PREVIEW"] is None


def test_save_date(c, imap_account):
    got = one(c, "(INTERNALDATE SAVEDATE)")
    assert got["INTERNALDATE"] == b"02-Feb-2024 01:02:03 +0000"
    assert got["SAVEDATE"] > b"" and got["SAVEDATE"] != got["INTERNALDATE"]


def test_object_ids(c):
    c.append("INBOX", b"Message-ID: <outer@x>\r\nSubject: Re: outer\r\n\r\nother text\r\n")
    c.ok("COPY 1 Archive")
    c.ok("NOOP")
    got = c.fetch("1:3", "(EMAILID THREADID)")
    assert got[1]["EMAILID"] != got[2]["EMAILID"]
    assert got[1]["EMAILID"] != got[3]["EMAILID"] and got[1]["THREADID"] == got[3]["THREADID"]
    c.ok("SELECT Archive")
    assert one(c, "(EMAILID THREADID)") == got[1]


# --- trouble -------------------------------------------------------------------------------------
def test_a_damaged_file(imap_account, appliance):
    """Never a wrong byte: the message is left out, the others come, and the end says NO."""
    session = imap_account.open()
    session.append("INBOX", PLAIN)
    before = set(glob.glob(f"{appliance.state}/store/blob/??/*"))
    session.append("INBOX", large(1500000, seed=7))
    session.append("INBOX", PLAIN)
    path, = set(glob.glob(f"{appliance.state}/store/blob/??/*")) - before
    with open(path, "r+b") as blob:
        blob.seek(os.path.getsize(path) // 2)
        blob.write(b"XXXXXXXX")
    session.ok("SELECT INBOX")
    for items in ("BODY.PEEK[]", "BODY.PEEK[1]", "BODY.PEEK[]<0.10>", "BINARY.PEEK[2]",
                  "(UID FLAGS BODY.PEEK[TEXT])"):
        answer = session.run(f"FETCH 1:3 {items}")
        assert answer.status == "NO" and answer.text.startswith(b"[SERVERBUG]"), items
        assert set(fetched(answer)) == {1, 3}
    # What needs no body is told all the same.
    assert set(session.fetch("1:3", "(FLAGS ENVELOPE BODYSTRUCTURE)")) == {1, 2, 3}
    os.unlink(path)
    answer = session.run("FETCH 1:3 BODY.PEEK[]")
    assert answer.status == "NO" and set(fetched(answer)) == {1, 3}
    session.ok("NOOP")


def test_others_are_served_while_one_does_not_read(imap_account):
    """An answer of 60 MB to a client that takes none of it."""
    slow = imap_account.open()
    slow.append("INBOX", large(1000000))
    slow.ok("SELECT INBOX")
    slow.start("FETCH 1 (" + " ".join(["BODY.PEEK[]"] * 60) + ")")
    other = imap_account.open("INBOX")
    for _ in range(20):
        other.ok("NOOP")
        assert len(one(other, "BODY.PEEK[HEADER]")) == 1
    # It goes away in the middle of it.
    slow.sock.close()
    other.ok("NOOP")

