"""SEARCH: every key against a model, RETURN, $, charsets, limits, text in large bodies."""
import base64
import random
import time

import pytest

from imap import fetched

LINES = {
    "from": ("Bob <bob@example.test>", "carol@example.test", "=?utf-8?q?J=C3=BCrgen?= <j@x>"),
    "subject": ("alpha", "Beta beta", "=?iso-8859-1?q?Gr=FC=DFe?=", "gamma ray"),
    "to": ("alice@example.test", "list: a@x, b@y;", "B <b@x>, c@x"),
}


class Message:
    def __init__(self, rng, n):
        self.n = n
        self.fields = {k: rng.choice(v) for k, v in LINES.items()}
        self.sent = rng.choice((None, (2024, 1, 31), (2024, 2, 1), (2025, 12, 31)))
        self.day = rng.choice((1, 2, 3))
        self.flags = {f for f in ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft",
                                  "$Work", "other") if rng.random() < 0.3}
        self.body = rng.choice(("short", "needle in here", "x" * 500, "Straße\r\nzwei"))

    def text(self):
        header = [f"{k.title()}: {v}" for k, v in self.fields.items()]
        if self.sent:
            months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
            y, m, d = self.sent
            # Its day is that of its own zone.
            header.append(f"Date: {d} {months[m - 1]} {y} 23:30:00 -1100")
        header.append("Content-Type: text/plain; charset=utf-8")
        return ("\r\n".join(header) + "\r\n\r\n" + self.body + "\r\n").encode()


@pytest.fixture(scope="module")
def box(appliance):
    from imap_account import ImapAccount
    account = ImapAccount(appliance)
    session = account.open()
    rng = random.Random(1)
    messages = [Message(rng, n) for n in range(1, 61)]
    for m in messages:
        session.append("INBOX", m.text(), " ".join(m.flags), f"0{m.day}-Mar-2024 23:00:00 +0000")
    session.ok("SELECT INBOX")
    session.ok("STORE 5,17,33 +FLAGS.SILENT (\\Deleted doomed)")
    session.ok("UID EXPUNGE 5,17,33")
    messages = [m for m in messages if m.n not in (5, 17, 33)]
    yield session, messages
    account.close()


def flag(name, wanted=True):
    return lambda m, i: (name in m.flags) == wanted


KEYS = [
    ("ALL", lambda m, i: True),
    ("SEEN", flag("\\Seen")), ("UNSEEN", flag("\\Seen", False)),
    ("ANSWERED", flag("\\Answered")), ("UNANSWERED", flag("\\Answered", False)),
    ("FLAGGED", flag("\\Flagged")), ("UNFLAGGED", flag("\\Flagged", False)),
    ("DELETED", flag("\\Deleted")), ("UNDELETED", flag("\\Deleted", False)),
    ("DRAFT", flag("\\Draft")), ("UNDRAFT", flag("\\Draft", False)),
    ("KEYWORD $work", flag("$Work")), ("UNKEYWORD OTHER", flag("other", False)),
    ("KEYWORD never", lambda m, i: False), ("UNKEYWORD never", lambda m, i: True),
    ("RECENT", lambda m, i: True), ("OLD", lambda m, i: False),
    ("NEW", flag("\\Seen", False)),
    ("3:5,50:*", lambda m, i: 3 <= i <= 5 or i >= 50), ("*", lambda m, i: i == 57),
    ("*:55", lambda m, i: i >= 55), ("100:200", lambda m, i: False),
    ("100:*", lambda m, i: i >= 57),
    ("UID 6:18,60", lambda m, i: 6 <= m.n <= 18 or m.n == 60),
    ("UID 61:*", lambda m, i: m.n == 60),
    ("BEFORE 2-Mar-2024", lambda m, i: m.day < 2), ("ON 2-Mar-2024", lambda m, i: m.day == 2),
    ("SINCE 2-Mar-2024", lambda m, i: m.day >= 2),
    ("SENTBEFORE 1-Feb-2024", lambda m, i: m.sent is not None and m.sent < (2024, 2, 1)),
    ("SENTON 1-Feb-2024", lambda m, i: m.sent == (2024, 2, 1)),
    ("SENTSINCE 1-Feb-2024", lambda m, i: m.sent is not None and m.sent >= (2024, 2, 1)),
    ("LARGER 300", lambda m, i: len(m.text()) > 300),
    ("SMALLER 300", lambda m, i: len(m.text()) < 300),
    ("FROM BOB", lambda m, i: m.fields["from"].startswith("Bob")),
    ("FROM example.test", lambda m, i: "example.test" in m.fields["from"]),
    ('FROM "Bob <bob@example"', lambda m, i: m.fields["from"].startswith("Bob")),
    ("TO list", lambda m, i: m.fields["to"].startswith("list")),
    ("TO c@x", lambda m, i: "c@x" in m.fields["to"]), ("CC x", lambda m, i: False),
    ("BCC x", lambda m, i: False),
    ("SUBJECT beta", lambda m, i: m.fields["subject"].startswith("Beta")),
    ('SUBJECT "a r"', lambda m, i: m.fields["subject"].startswith("gamma")),
    ("HEADER Subject ALPHA", lambda m, i: m.fields["subject"] == "alpha"),
    ('HEADER Date ""', lambda m, i: m.sent is not None),
    ("HEADER X-None x", lambda m, i: False), ('HEADER X-None ""', lambda m, i: False),
    ("BODY needle", lambda m, i: "needle" in m.body), ("BODY alpha", lambda m, i: False),
    ("TEXT needle", lambda m, i: "needle" in m.body),
    ("TEXT alpha", lambda m, i: m.fields["subject"] == "alpha"),
    ('BODY ""', lambda m, i: True), ('TEXT ""', lambda m, i: True),
    ("YOUNGER 60", lambda m, i: False), ("OLDER 60", lambda m, i: True),
    ("SAVEDBEFORE 1-Jan-2024", lambda m, i: False), ("SAVEDSINCE 1-Jan-2024", lambda m, i: True),
    ("SAVEDATESUPPORTED", lambda m, i: True), ("MODSEQ 1", lambda m, i: True),
    ('MODSEQ "/flags/\\\\seen" all 1', lambda m, i: True),
    ("MODSEQ 9223372036854775807", lambda m, i: False),
    ("EMAILID M999999", lambda m, i: False), ("EMAILID x", lambda m, i: False),
    ("THREADID T999999", lambda m, i: False),
]


def check(box, keys, model):
    session, messages = box
    assert session.search(keys) == [i for i, m in enumerate(messages, 1) if model(m, i)], keys
    assert session.search(keys, uid=True) == [m.n for i, m in enumerate(messages, 1)
                                              if model(m, i)], keys


@pytest.mark.parametrize("keys,model", KEYS, ids=[k for k, _ in KEYS])
def test_key(box, keys, model):
    check(box, keys, model)


def test_combinations(box):
    """Random trees of AND, OR, NOT and parentheses."""
    rng = random.Random(7)

    def tree(depth):
        kind = rng.randrange(4 if depth else 1)
        if kind == 0:
            return rng.choice(KEYS)
        a, b = tree(depth - 1), tree(depth - 1)
        if kind == 1:
            return f"NOT {a[0]}", lambda m, i: not a[1](m, i)
        if kind == 2:
            return f"OR {a[0]} {b[0]}", lambda m, i: a[1](m, i) or b[1](m, i)
        return f"({a[0]} {b[0]})", lambda m, i: a[1](m, i) and b[1](m, i)

    for _ in range(150):
        check(box, *tree(4))


def test_texts_in_other_charsets(box):
    session, messages = box
    want = [i for i, m in enumerate(messages, 1) if "iso" in m.fields["subject"]]
    for charset, text in (("UTF-8", "grüsse"), ("UTF-8", "GRÜSSE"), ("iso-8859-1", "Grüße"),
                          ("\"windows-1252\"", "grüß"), ("utf-7", "Grüße")):
        name = charset.strip('"')
        assert session.search((f"CHARSET {charset} SUBJECT ", text.encode(name))) == want
    body = [i for i, m in enumerate(messages, 1) if "Straße" in m.body]
    assert session.search(("BODY ", "strasse".encode())) == body
    assert session.search(("CHARSET UTF-8 FROM ", "jürgen".encode())) == [
        i for i, m in enumerate(messages, 1) if "J=C3" in m.fields["from"]]
    answer = session.run("SEARCH CHARSET x-nobody-knows ALL")
    assert answer.status == "NO" and answer.text.startswith(b"[BADCHARSET (US-ASCII UTF-8)]")


# --- RETURN --------------------------------------------------------------------------------------
def esearch(answer):
    line, = answer.lines("ESEARCH")
    words = line.split(b" ")
    assert words[1:3] == [b"(TAG", b'"%s")' % answer.tag]
    rest = words[3:]
    uid = rest[:1] == [b"UID"]
    rest = rest[uid:]
    return dict(zip(rest[::2], rest[1::2])), uid


def search(session, command):
    tag = session.start(command)
    answer = session.finish(tag)
    answer.tag = tag
    return answer


def test_return(box):
    session, messages = box
    got, uid = esearch(search(session, "SEARCH RETURN (MIN MAX COUNT ALL) SEEN"))
    seen = [i for i, m in enumerate(messages, 1) if "\\Seen" in m.flags]
    assert not uid
    assert got[b"MIN"] == b"%d" % seen[0] and got[b"MAX"] == b"%d" % seen[-1]
    assert got[b"COUNT"] == b"%d" % len(seen)
    listed = []
    for part in got[b"ALL"].split(b","):
        first, _, last = part.partition(b":")
        listed += range(int(first), int(last or first) + 1)
    assert listed == seen
    got, uid = esearch(search(session, "UID SEARCH RETURN () ALL"))
    # UIDs 5, 17 and 33 are gone: a range does not reach over them.
    assert uid and got == {b"ALL": b"1:4,6:16,18:32,34:60"}
    got, _ = esearch(search(session, "SEARCH RETURN (MIN MAX COUNT) KEYWORD never"))
    assert got == {b"COUNT": b"0"}
    got, _ = esearch(search(session, "SEARCH RETURN (ALL) KEYWORD never"))
    assert got == {}
    answer = search(session, "SEARCH RETURN (COUNT) MODSEQ 1")
    assert int(esearch(answer)[0][b"MODSEQ"]) > 0
    plain = session.ok("SEARCH MODSEQ 1").lines("SEARCH")[0]
    assert plain.endswith(b" (MODSEQ %d)" % int(esearch(answer)[0][b"MODSEQ"]))
    assert session.ok("SEARCH MODSEQ 9223372036854775807").untagged == [b"SEARCH"]


def test_saved_result(box):
    session, messages = box
    seen = [m.n for m in messages if "\\Seen" in m.flags]
    assert search(session, "SEARCH RETURN (SAVE) SEEN").untagged == []
    assert [int(v["UID"]) for v in fetched(session.ok("UID FETCH $ (UID)")).values()] == seen
    assert session.search("$", uid=True) == seen
    assert session.search("$ FLAGGED", uid=True) == [
        m.n for m in messages if {"\\Seen", "\\Flagged"} <= m.flags]
    assert session.search("NOT $", uid=True) == [m.n for m in messages if m.n not in seen]
    assert session.search("OR $ 1", uid=True) == sorted({*seen, 1})
    esearch(search(session, "SEARCH RETURN (SAVE MIN) SEEN"))
    assert session.search("$", uid=True) == seen[:1]
    esearch(search(session, "SEARCH RETURN (SAVE MIN MAX) SEEN"))
    assert session.search("$", uid=True) == [seen[0], seen[-1]]
    esearch(search(session, "SEARCH RETURN (SAVE COUNT MIN) SEEN"))
    assert session.search("$", uid=True) == seen
    # BAD leaves it, NO empties it (RFC 5182 2.1).
    assert session.run("SEARCH RETURN (SAVE) NONSENSE").status == "BAD"
    assert session.search("$", uid=True) == seen
    assert session.run("SEARCH RETURN (SAVE) CHARSET x-none ALL").status == "NO"
    assert session.search("$") == []
    assert fetched(session.ok("FETCH $ (FLAGS)")) == {}


def test_saved_result_loses_what_is_expunged(imap_account):
    session = imap_account.open()
    for n in range(4):
        session.append("INBOX", b"Subject: %d\r\n\r\n" % n)
    session.ok("SELECT INBOX")
    session.ok("SEARCH RETURN (SAVE) 2:4")
    session.ok("STORE 3 +FLAGS.SILENT (\\Deleted)")
    session.ok("EXPUNGE")
    assert session.search("$", uid=True) == [2, 4]
    session.ok("STORE $ +FLAGS.SILENT (\\Flagged)")
    assert session.search("FLAGGED", uid=True) == [2, 4]
    session.ok("MOVE $ Trash")
    assert session.search("ALL", uid=True) == [1] and session.search("$") == []
    session.ok("EXAMINE INBOX")
    assert session.search("$") == []


# --- ids -----------------------------------------------------------------------------------------
def test_object_ids(imap_account):
    session = imap_account.open()
    for references in (b"", b"", b"Message-ID: <same@x>\r\n", b"Message-ID: <same@x>\r\n"):
        session.append("INBOX", references + b"Subject: x\r\n\r\n")
    session.ok("SELECT INBOX")
    ids = session.fetch("1:4", "(EMAILID THREADID)")
    assert session.search(f"EMAILID {ids[2]['EMAILID'][0].decode()}") == [2]
    assert session.search(f"THREADID {ids[3]['THREADID'][0].decode()}") == [3, 4]


# --- limits --------------------------------------------------------------------------------------
BAD = ("", "NONSENSE", "ALL ", "(ALL", "ALL)", "()", "NOT", "OR ALL", "OR ALL ", "SUBJECT",
       "HEADER x", "LARGER x", "LARGER -1", "BEFORE yesterday", "BEFORE 31-Feb-2024", "UID", "UID x",
       "0", "1:", "KEYWORD", "KEYWORD (", "MODSEQ", "CHARSET utf-8", "RETURN (NONSENSE) ALL",
       "RETURN (ALL ALL", "RETURN ALL ALL", "SUBJECT {3}", 'SUBJECT "x')


@pytest.mark.parametrize("keys", BAD)
def test_bad_arguments(imap_account, keys):
    session = imap_account.open("INBOX")
    if keys == "SUBJECT {3}":
        session.send(b"x SEARCH SUBJECT {3}\r\n")
        assert session.read_line().startswith(b"+")
        session.send(b"abc(\r\n")
        assert session.read_line().startswith(b"x BAD")
    else:
        assert session.run(f"SEARCH {keys}").status == "BAD"


def test_depth_and_length(box):
    session, messages = box
    everything = list(range(1, len(messages) + 1))
    assert session.search("NOT " * 100 + "ALL") == everything
    assert session.search("(" * 150 + "ALL" + ")" * 150) == everything
    assert session.search("OR NOT ALL " * 150 + "ALL") == everything
    assert session.search(" ".join(["ALL"] * 3000)) == everything
    for keys in ("(" * 500 + "ALL" + ")" * 500, "NOT " * 5000 + "ALL", "ALL " * 10000 + "ALL",
                 "SUBJECT " + "x" * 5000):
        answer = session.run("SEARCH " + keys)
        assert answer.status == "NO" and answer.text.startswith(b"[LIMIT]"), keys[:50]
    assert session.search("1,2," * 4000 + "3") == [1, 2, 3]


# --- text ----------------------------------------------------------------------------------------
def part(kind, encoding, data):
    return (f"--b\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
            .encode() + data + b"\r\n")


def test_text_in_large_bodies(imap_account):
    """Decoded, converted, across every border of a piece; not in what is no text."""
    session = imap_account.open()
    filler = ("lorem ipsum " * 90 + "\r\n") * 1500
    texts = ["Straßenbahn am Anfang\r\n" + filler, filler + "Straßenbahn am Ende\r\n",
             filler[:65536 - 5] + "Straßenbahn auf der Grenze" + filler]
    for text in texts:
        data = base64.encodebytes(text.encode("iso-8859-1")).replace(b"\n", b"\r\n")
        session.append("INBOX", b"Content-Type: multipart/mixed; boundary=b\r\nSubject: large\r\n\r\n" +
                       part("text/plain; charset=iso-8859-1", "base64", data) +
                       part("application/x", "base64", base64.encodebytes(b"hidden treasure")) +
                       b"--b--\r\n")
    session.ok("SELECT INBOX")
    assert session.search(("BODY ", "STRASSENBAHN".encode())) == [1, 2, 3]
    assert session.search("BODY anfang") == [1]
    assert session.search("BODY ende") == [2]
    assert session.search("TEXT grenze") == [3]
    assert session.search("TEXT large BODY ipsum") == [1, 2, 3]
    assert session.search("BODY treasure") == []
    assert session.search("OR BODY anfang BODY ende NOT BODY grenze") == [1, 2]
    assert session.search("BODY nowhere") == []


def test_messages_that_others_expunge(imap_account):
    """They are kept for a while: what the session still sees can be searched."""
    session = imap_account.open()
    for n in range(3):
        session.append("INBOX", b"Subject: find\r\n\r\nbody %d\r\n" % n)
    session.ok("SELECT INBOX")
    other = imap_account.open("INBOX")
    other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
    other.ok("EXPUNGE")
    answer = session.ok("SEARCH BODY body")
    assert answer.lines("SEARCH") == [b"SEARCH 1 2 3"]
    assert not any(b"EXPUNGE" in line for line in answer.untagged)
    assert b"2 EXPUNGE" in session.ok("NOOP").untagged
    assert session.search("BODY body") == [1, 2]


def test_within(imap_account):
    session = imap_account.open()
    session.append("INBOX", b"Subject: now\r\n\r\n")
    then = time.strftime("%d-%b-%Y %H:%M:%S +0000", time.gmtime(time.time() - 1000))
    session.append("INBOX", b"Subject: then\r\n\r\n", date=then)
    session.ok("SELECT INBOX")
    assert session.search("YOUNGER 500") == [1]
    assert session.search("OLDER 500") == [2]
    assert session.search("YOUNGER 4000") == [1, 2]
    assert session.search("OLDER 4294967295") == []


def test_saved_results_are_not_multiplied(imap_account):
    """A "$" is one byte and stands for a set of any size; thousands of them have a limit."""
    c = imap_account.open()
    c.ok("CREATE box")
    one = b" (\\Seen) {1+}\r\nx () {1+}\r\nx"
    for _ in range(2):
        c.send(b"m APPEND box" + one * 300 + b"\r\n")
        assert c.read_line().startswith(b"m OK")
    c.ok("SELECT box")
    c.ok("SEARCH RETURN (SAVE) SEEN")
    assert len(c.search("$ $ $")) == 600
    answer = c.run("SEARCH " + "$ " * 3000 + "ALL")
    assert answer.status == "NO" and answer.text.startswith(b"[LIMIT]"), answer.text
    assert len(c.search("SEEN")) == 600


def test_very_many_keys_on_very_many_fields(imap_account):
    """Keys times fields is work without end: it is done in turns, and comes to the right answer."""
    c = imap_account.open()
    fields = 8000
    head = "".join(f"X: v{n}.\r\n" for n in range(fields))
    c.append("INBOX", f"Subject: many {'s' * 100000}\r\n{head}\r\ntext\r\n".encode())
    c.append("INBOX", b"X: v0.\r\n\r\nsmall\r\n")
    c.ok("SELECT INBOX")
    wanted = [f"HEADER X v{n}." for n in range(0, fields, 4)]
    assert c.search(" ".join(wanted)) == [1]
    assert c.search(" ".join(wanted[:-1]) + " HEADER X w1") == []
    assert c.search("NOT (" + " ".join(wanted) + ")") == [2]
    none = " ".join(f"NOT HEADER X w{n}" for n in range(1000))
    assert c.search(f"NOT ({none} NOT HEADER X v7999.)") == [1]
    assert c.search(f"NOT ({none} NOT HEADER X v0.)") == [1, 2]
    # Kept fields and others, of which the first kind is decided before the slice ends.
    assert c.search("HEADER SUBJECT many " + " ".join(wanted)) == [1]
    assert c.search(" ".join(["SUBJECT ss"] * 1500)) == [1]


def test_bodies_have_a_limit_of_keys(imap_account):
    c = imap_account.open()
    c.append("INBOX", b"Subject: x\r\n\r\n" + b"ab" * 400000 + b"\r\n")
    c.ok("SELECT INBOX")
    assert c.search(" ".join(["BODY " + "ab" * 60] * 100)) == [1]
    assert c.search(" ".join(["TEXT " + "ab" * 60 + "b"] * 100)) == []
    answer = c.run("SEARCH " + " ".join(["BODY a"] * 101))
    assert answer.status == "NO" and answer.text.startswith(b"[LIMIT]"), answer


def test_sent_dates_are_the_same_from_memory(imap_account):
    """The second search has a column of them, which follows the mailbox."""
    c = imap_account.open()
    dates = ["1 Jan 2020 23:30:00 -0500", "2 Jan 2020 00:30:00 +0900", "no date", None,
             "3 Jan 2020 12:00:00 +0000"]

    def add(date):
        head = f"Date: {date}\r\n" if date else ""
        c.append("INBOX", f"{head}Subject: x\r\n\r\n".encode())

    def look():
        return [c.search(f"SENTSINCE 2-Jan-2020"), c.search("SENTON 1-Jan-2020"),
                c.search("SENTBEFORE 3-Jan-2020"), c.search("NOT SENTBEFORE 3-Jan-2020"),
                c.search("OR SENTON 2-Jan-2020 SENTON 3-Jan-2020 SUBJECT x")]

    for date in dates:
        add(date)
    c.ok("SELECT INBOX")
    want = [[2, 5], [1], [1, 2], [3, 4, 5], [2, 5]]
    for _ in range(3):
        assert look() == want
    # SORT shares what is kept, and dates of its own.
    assert c.ok("SORT (DATE) UTF-8 SENTSINCE 1-Jan-2020").lines("SORT") == [b"SORT 2 1 5"]
    add(dates[1])
    c.ok("NOOP")
    assert look() == [[2, 5, 6], [1], [1, 2, 6], [3, 4, 5], [2, 5, 6]]
    c.ok("STORE 1,3 +FLAGS (\\Deleted)")
    c.ok("EXPUNGE")
    assert look() == [[1, 3, 4], [], [1, 4], [2, 3], [1, 3, 4]]


def test_texts_at_every_place(imap_account):
    """Texts at the beginning, the end and among much that nearly matches."""
    c = imap_account.open()
    value = "<7.7.7.77.x@Y>" + ".7" * 60 + "end-"
    c.append("INBOX", f"X-A: {value}\r\nSubject: {value}\r\n\r\n".encode())
    c.ok("SELECT INBOX")
    for text in ("<7", ".77.", "x@y>", ".7.7e", "END-", "d-", "7" * 2, value, "-", "<", ">.7", "e"):
        assert c.search(f'HEADER X-A "{text}"') == [1], text
        assert c.search(f'SUBJECT "{text}"') == [1], text
    for text in ("<77", ".777", "end-x", value + "x", "x" + value, "77.7", "@7", "--", "z"):
        assert c.search(f'HEADER X-A "{text}"') == [], text
        assert c.search(f'SUBJECT "{text}"') == [], text
