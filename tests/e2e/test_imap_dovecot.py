"""Odd mail read by two servers: what Debian's Dovecot answers to FETCH and SEARCH is what we answer,
but where we know better: then it says here why."""
import itertools
import re

import pytest

from appliance import PASSWORD, Appliance
from dovecot import PEER_PASSWORD, PEER_USER, Dovecot
from imap import Imap, fetched
from odd_mail import BARE_LF, HAND_MADE, conversation, generated

DATE = "01-Feb-2024 10:20:30 +0000"
FLAGS = ("", "\\Seen", "\\Answered foo", "\\Flagged \\Deleted", "\\Draft")
GENERATED = list(generated(60, seed=5)) + list(generated(30, seed=6))
# Dovecot counts the bytes of such messages as if they had CRLF, and stores them so; here every byte
# stays as it came. They are compared only in what does not count bytes.
ALL = list(HAND_MADE.items()) + GENERATED + list(BARE_LF.items())
EXACT = len(ALL) - len(BARE_LF)


class Pair:
    def __init__(self, ours, peer):
        self.ours = ours
        self.peer = peer

    def both(self, command):
        return self.ours.run(command), self.peer.run(command)


@pytest.fixture(scope="module")
def pair():
    with Appliance(listeners={"imap": {"login_without_tls": "yes"}}) as appliance, \
            Dovecot() as dovecot:
        ours = Imap(appliance.connect("imap"))
        ours.login("alice@example.test", PASSWORD)
        peer = Imap(dovecot.connect())
        peer.login(PEER_USER, PEER_PASSWORD)
        for client in (ours, peer):
            for i, (_, message) in enumerate(ALL):
                client.append("INBOX", message, FLAGS[i % len(FLAGS)], date=DATE)
            client.ok("SELECT INBOX")
        yield Pair(ours, peer)
        ours.close()
        peer.close()


def values(answer, number):
    """Dovecot writes the names of HEADER.FIELDS in upper case, we as the client did."""
    return {k.upper(): v for k, v in fetched(answer).get(number, {}).items()}


# --- ENVELOPE --------------------------------------------------------------------------------------
TEXTS = {0: "date", 8: "in-reply-to", 9: "message-id"}
SINGLE = ("date", "subject", "from", "sender", "reply-to", "in-reply-to", "message-id")
RUBBISH = (b"MISSING_MAILBOX", b"MISSING_DOMAIN", b"SYNTAX_ERROR", b"INVALID_ROUTE")


def has_rubbish(addresses):
    return any(part in RUBBISH for address in addresses or () for part in address)


def same_envelope(ours, peer, is_hand_made):
    for i, (a, b) in enumerate(zip(ours, peer)):
        if i in TEXTS:
            # How much white space there is, and whether at the ends, has no meaning.
            a, b = (x.split() if x is not None else None for x in (a, b))
        # Of broken addresses each makes what it can.
        elif 2 <= i <= 7 and not is_hand_made and (has_rubbish(a) or has_rubbish(b)):
            continue
        if a != b:
            return False
    return len(ours) == len(peer)


def repeated(message):
    """Fields that stand there twice: Dovecot shows the last Subject, Date and Message-ID and joins
    the addresses; here the first counts, as in a program that reads the header from its start."""
    header = re.split(rb"\r?\n\r?\n", message, maxsplit=1)[0].lower()
    return any(len(re.findall(rb"^" + name.encode() + rb"[ \t]*:", header, re.M)) > 1
               for name in SINGLE)


# In these Dovecot stops where a quote or a parenthesis is not closed; here all that is left belongs
# to it, and nothing is lost.
UNCLOSED = {"unterminated quote"}


def test_envelopes(pair):
    differ = []
    for i, (name, message) in enumerate(ALL, 1):
        ours, peer = pair.both(f"FETCH {i} (ENVELOPE)")
        a, b = (values(x, i)["ENVELOPE"] for x in (ours, peer))
        if repeated(message) or name in UNCLOSED:
            continue
        if not same_envelope(a, b, name in HAND_MADE):
            differ.append((name, a, b))
    assert not differ


# --- structure ---------------------------------------------------------------------------------------
def is_multipart(part):
    return isinstance(part[0], list)


def is_message(part):
    return not is_multipart(part) and [p.lower() for p in part[:2]] == [b"message", b"rfc822"]


def children_of(part):
    return list(itertools.takewhile(lambda p: isinstance(p, list), part))


DEFAULT = [b"text", b"plain", [b"charset", b"us-ascii"]]


def normal(part, is_inside):
    """A structure without what differs on purpose."""
    part = list(part)
    if is_multipart(part):
        children = children_of(part)
        return [normal(p, True) for p in children] + part[len(children):]
    if is_message(part):
        # The line end before a boundary belongs to the boundary (RFC 2046 5.1.1), also behind a
        # multipart: Dovecot counts it into what the attached message holds.
        if is_inside:
            part[6] = part[9] = None
        part[7] = None  # as test_envelopes
        part[8] = normal(part[8], False)
    if part[:3] == DEFAULT and len(part) > 9:
        part[9] = None  # it loses a disposition where there is no Content-Type
    return part


# Dovecot shows no type at all where the Content-Type is broken; RFC 2045 5.2 says text/plain.
# It loses "format=flowed" behind a broken parameter, and an encoding where there is no Content-Type.
# A boundary that is empty is none (RFC 2046 5.1.1).
STRUCTURE_DIFFERS = {"odd content types", "content type rubbish", "parameters without values",
                     "odd encodings", "encoding with comment", "upper case encoding",
                     "empty boundary"}


def test_structures(pair):
    differ = []
    for i, (name, _) in enumerate(ALL[:EXACT], 1):
        if name in STRUCTURE_DIFFERS:
            continue
        ours, peer = pair.both(f"FETCH {i} (BODY BODYSTRUCTURE)")
        for item in ("BODY", "BODYSTRUCTURE"):
            a, b = (values(x, i)[item] for x in (ours, peer))
            if normal(a, False) != normal(b, False):
                differ.append((name, item, a, b))
    assert not differ


# --- bytes -------------------------------------------------------------------------------------------
def sections(structure, prefix=""):
    """(number, part) of all parts that there are."""
    if is_multipart(structure):
        for i, child in enumerate(children_of(structure), 1):
            yield from below(f"{prefix}{i}", child)
    else:
        yield from below(f"{prefix}1", structure)


def below(number, part):
    yield number, part
    if is_multipart(part):
        yield from sections(part, number + ".")
    elif is_message(part):
        inner = part[8]
        if is_multipart(inner):
            yield from sections(inner, number + ".")
        else:
            yield from below(number + ".1", inner)


def same_bytes(name, a, b, is_composite, is_mime):
    if a == b:
        return True
    # See normal(); and Dovecot takes the line end off a header that a boundary ends.
    if (is_composite or is_mime) and a is not None and b is not None:
        return a.rstrip(b"\r\n") == b.rstrip(b"\r\n")
    return False


WHOLE = ("RFC822.SIZE", "INTERNALDATE", "FLAGS", "BODY.PEEK[]", "BODY.PEEK[HEADER]",
         "BODY.PEEK[TEXT]", "RFC822.HEADER", "BODY.PEEK[]<5.20>", "BODY.PEEK[TEXT]<2.3>",
         "BODY.PEEK[]<100000.5>", "BODY.PEEK[HEADER.FIELDS (From Subject X-Odd)]",
         "BODY.PEEK[HEADER.FIELDS (Received)]<3.4>", "BODY.PEEK[HEADER.FIELDS.NOT (From Subject)]")


def test_bytes_of_messages(pair):
    differ = []
    for i, (name, message) in enumerate(ALL[:EXACT], 1):
        ours, peer = (values(x, i) for x in pair.both(f"FETCH {i} ({' '.join(WHOLE)})"))
        ours["FLAGS"], peer["FLAGS"] = (sorted(f for f in x["FLAGS"] if f != b"\\Recent")
                                        for x in (ours, peer))
        assert ours["BODY[]"] == message, name
        assert ours["RFC822.SIZE"] == b"%d" % len(message), name
        assert ours["BODY[HEADER]"] + ours["BODY[TEXT]"] == message, name
        if b"\r\n\r\n" not in message and not message.startswith(b"\r\n"):
            # A header without an empty line gets none in Dovecot's HEADER.FIELDS; RFC 3501 6.4.5
            # says that it is always there.
            for key in [k for k in ours if "FIELDS" in k]:
                del ours[key]
        differ += [(name, k, ours[k], peer.get(k)) for k in ours if ours[k] != peer.get(k)]
    assert not differ


def test_bytes_that_end_in_lf_stay(pair):
    for i, (_, message) in enumerate(ALL[EXACT:], EXACT + 1):
        got = values(pair.ours.ok(f"FETCH {i} (RFC822.SIZE BODY.PEEK[])"), i)
        assert got["BODY[]"] == message
        assert got["RFC822.SIZE"] == b"%d" % len(message)


def test_parts(pair):
    differ = []
    for i, (name, _) in enumerate(ALL[:EXACT], 1):
        if name in STRUCTURE_DIFFERS:
            continue
        found = values(pair.ours.ok(f"FETCH {i} (BODYSTRUCTURE)"), i)["BODYSTRUCTURE"]
        items = []
        kinds = {}
        for number, part in sections(found):
            ends = ["", ".MIME"]
            if is_message(part):
                ends += [".HEADER", ".TEXT", ".HEADER.FIELDS (Subject)"]
            for end in ends:
                items.append(f"BODY.PEEK[{number}{end}]")
                kinds[f"BODY[{number}{end}]".upper()] = (is_multipart(part) or is_message(part),
                                                 end == ".MIME")
            items.append(f"BODY.PEEK[{number}]<1.7>")
            kinds[f"BODY[{number}]<1>"] = kinds[f"BODY[{number}]"]
        ours, peer = (values(x, i) for x in pair.both(f"FETCH {i} ({' '.join(items)})"))
        for key, value in ours.items():
            composite, mime = kinds[key]
            header = ours.get(key.replace(".FIELDS (SUBJECT)", ""))
            # In a header that a boundary ends Dovecot finds fields of the next part.
            if "FIELDS" in key and not header.endswith(b"\r\n\r\n"):
                continue
            if not same_bytes(name, value, peer.get(key), composite, mime):
                differ.append((name, key, value, peer.get(key)))
    assert not differ


def test_parts_that_are_not_there(pair):
    """NIL (RFC 3501 6.4.5: nstring). Dovecot gives an empty string, and for a number behind a part
    that has no parts, the part itself."""
    for i, (name, message) in enumerate(ALL[:EXACT], 1):
        found = values(pair.ours.ok(f"FETCH {i} (BODYSTRUCTURE)"), i)["BODYSTRUCTURE"]
        there = {number for number, _ in sections(found)}
        missing = [n for n in ("1.1", "2", "2.1", "3.1.1", "9") if n not in there]
        got = values(pair.ours.ok(
            f"FETCH {i} ({' '.join(f'BODY.PEEK[{n}] BODY.PEEK[{n}.MIME]' for n in missing)})"), i)
        assert all(v is None for v in got.values()), (name, got)


# Dovecot refuses quoted-printable with an error in it, and takes fewer encodings for known.
BINARY_DIFFERS = STRUCTURE_DIFFERS | {"quoted-printable"}


def test_decoded_parts(pair):
    differ = []
    for i, (name, _) in enumerate(ALL[:EXACT], 1):
        if name in BINARY_DIFFERS:
            continue
        found = values(pair.ours.ok(f"FETCH {i} (BODYSTRUCTURE)"), i)["BODYSTRUCTURE"]
        for number, part in sections(found):
            # Of what has parts the encoding is not undone here (there is none, RFC 2045 6.4).
            if is_multipart(part) or is_message(part):
                continue
            command = f"FETCH {i} (BINARY.PEEK[{number}] BINARY.SIZE[{number}])"
            ours, peer = pair.both(command)
            if ours.status != peer.status or values(ours, i) != values(peer, i):
                differ.append((name, number, ours, peer))
    assert not differ


# --- SEARCH ------------------------------------------------------------------------------------------
SEARCHES = (
    "ALL", "ANSWERED", "DELETED", "DRAFT", "FLAGGED", "SEEN", "UNSEEN", "NEW", "OLD", "RECENT",
    "UNANSWERED", "UNDELETED", "UNDRAFT", "UNFLAGGED", "KEYWORD foo", "UNKEYWORD foo",
    "KEYWORD nosuch", "1:10", "5,7,20:*", "*", "UID 1:20", "UID 50:*", "UID 1000:*", "NOT 1:10",
    "OR 1:3 5:7", "(1:20 NOT (3:5))", "OR (SUBJECT a) (NOT FROM a)", "NOT NOT (NOT SEEN)",
    "OR OR SUBJECT plain SUBJECT groups SUBJECT routes", "OR NOT SEEN (OR DRAFT (NOT (FLAGGED)))",
    "BEFORE 2-Feb-2024", "ON 1-Feb-2024", "SINCE 1-Feb-2024", "SINCE 2-Feb-2024",
    "BEFORE 1-Feb-2024", 'ON "1-Feb-2024"', "SENTON 1-Jan-2026", "SENTON 8-Mar-2020",
    "SENTON 9-Mar-2020", "SENTON 2-Feb-2020", "SENTON 1-Feb-2024", "LARGER 200", "SMALLER 200",
    "LARGER 0", "SMALLER 1", "LARGER 5000", "YOUNGER 100", "OLDER 100",
    "LARGER 100 SMALLER 300 NOT SUBJECT plain",
    "SUBJECT plain", 'SUBJECT ""', "SUBJECT PLAIN", "SUBJECT subject", 'SUBJECT "long subject"',
    'SUBJECT "a long subject"', "SUBJECT first", 'SUBJECT "one two"', "SUBJECT open",
    "FROM bob", 'FROM "Bob <bob"', "FROM bob@example.test", "FROM first", 'FROM "<bob"',
    "FROM Builder", "FROM @", "TO friends", "TO a@x", 'TO "B <b"', "CC d@example", "BCC d@e",
    "TO nobody", "CC nobody", "TO MISSING", "FROM MISSING_DOMAIN",
    "HEADER Message-ID plain", 'HEADER Message-ID ""', 'HEADER X-Priority ""',
    'HEADER X-Nothing ""', "HEADER Subject second", "HEADER From Builder",
    "HEADER Content-Type multipart", 'HEADER "Subject" first', "HEADER List-Id list",
    'HEADER To "undisclosed"', "HEADER Date Jan",
    "BODY hello", "BODY HELLO", 'BODY "second line"', "BODY needle", "BODY needneedle",
    "BODY inner", 'BODY "inner plain"', "BODY bold", "BODY preamble", "BODY epilogue",
    "BODY findme", 'BODY "bold text"', "BODY deep", "BODY html", "BODY Final-Recipient",
    "BODY Reporting", "BODY Subject", 'BODY "text/html"', "BODY see", 'BODY ""', "BODY data",
    "BODY PDF", "BODY two", 'BODY "text 3 of 2"',
    "TEXT hello", "TEXT bob", "TEXT subject", 'TEXT "Subject: plain"', "TEXT needle",
    "TEXT multipart", "TEXT boundary", "TEXT =_x", 'TEXT "a long subject"', "TEXT inner",
    'TEXT "Content-Type"', 'TEXT "X-Priority: 3"', "TEXT innermost",
)
IN_UTF8 = (
    ("SUBJECT", "grüße"), ("SUBJECT", "äöü"), ("SUBJECT", "größer"), ("SUBJECT", "привет"),
    ("SUBJECT", "ПРИВЕТ"), ("SUBJECT", "日本"), ("FROM", "böb"), ("FROM", "müller"),
    ("FROM", "Jürgen Müller"), ("BODY", "grüße"), ("BODY", "größe"), ("BODY", "gruesse"),
    ("BODY", "münchen"), ("BODY", "MÜNCHEN"), ("BODY", "привет"), ("BODY", "ПРИВЕТ"),
    ("BODY", "日本"), ("BODY", "naïve"), ("BODY", "naive"), ("BODY", "café"), ("BODY", "cafe"),
    ("TEXT", "ä"), ("BODY", "Hello"), ("SUBJECT", "ß"), ("HEADER Content-Type", "ä"),
    ("TEXT", "größer ß"),
)


ADDRESS_KEY = re.compile(r"\b(FROM|TO|CC|BCC) ")


def names(answer):
    return {ALL[int(n) - 1][0] for n in answer.lines("SEARCH")[0].split()[1:]}


@pytest.mark.parametrize("keys", SEARCHES)
def test_search(pair, keys):
    ours, peer = pair.both("SEARCH " + keys)
    assert (ours.status, peer.status) == ("OK", "OK")
    differ = names(ours) ^ names(peer)
    # Of broken addresses each finds what it could read (test_envelopes).
    if ADDRESS_KEY.search(keys):
        differ &= set(HAND_MADE)
    assert not differ


@pytest.mark.parametrize("key,text", IN_UTF8)
def test_search_in_utf8(pair, key, text):
    ours, peer = pair.both((f"SEARCH CHARSET UTF-8 {key} ", text.encode()))
    assert (ours.status, peer.status) == ("OK", "OK")
    assert names(ours) == names(peer)


def test_search_that_differs(pair):
    """Where we know better."""
    ours, peer = pair.both("SEARCH SENTBEFORE 1-Jan-1980")
    # A message without a date was not sent before any day; and there were days before 1970.
    assert names(ours) == {"date far away"}
    assert "no header at all" in names(peer) and "date far away" not in names(peer)
    # The envelope's subject is the first one (RFC 3501 6.4.4).
    ours, peer = pair.both("SEARCH SUBJECT second")
    assert names(peer) - names(ours) == {"duplicate headers", "bare LF"}
    # An address field in which there is nothing is not there in the envelope.
    ours, peer = pair.both('SEARCH FROM ""')
    assert names(ours) < names(peer)
    # Full case folding: the two are one word.
    for text in ("GRÜSSE", "ss"):
        ours, peer = pair.both(("SEARCH CHARSET UTF-8 SUBJECT ", text.encode()))
        assert "encoded words" in names(ours) - names(peer)
    # What cannot be decoded is searched as it stands.
    ours, peer = pair.both("SEARCH SUBJECT =?")
    assert names(ours) - names(peer) == {"unknown charset"}


SORTS = ("ARRIVAL", "SIZE", "REVERSE SIZE", "CC", "TO", "REVERSE ARRIVAL", "SUBJECT SIZE",
         "REVERSE SUBJECT")


@pytest.mark.parametrize("keys", SORTS)
def test_sort(pair, keys):
    """Of messages with nothing broken in them."""
    good = [i for i, (name, _) in enumerate(ALL[:EXACT], 1) if name in HAND_MADE and
            name not in UNCLOSED and name not in ("duplicate headers", "unknown charset",
                                                  "utf-8 headers", "8-bit headers")]
    chosen = ",".join(str(i) for i in good)
    ours, peer = pair.both(f"SORT ({keys}) UTF-8 {chosen}")
    assert ours.untagged == peer.untagged


@pytest.mark.parametrize("seed", range(4))
def test_threads(pair, seed):
    """REFERENCES and ORDEREDSUBJECT, and all sort keys, of conversations with holes."""
    for client in (pair.ours, pair.peer):
        client.ok(f"CREATE threads{seed}")
        for message in conversation(90, seed):
            client.append(f"threads{seed}", message)
        client.ok(f"EXAMINE threads{seed}")
    try:
        for command in ("THREAD REFERENCES UTF-8 ALL", "THREAD ORDEREDSUBJECT UTF-8 ALL",
                        "UID THREAD REFERENCES US-ASCII SUBJECT alpha",
                        "THREAD REFERENCES UTF-8 NOT SUBJECT Re", "SORT (DATE) UTF-8 ALL",
                        "SORT (SUBJECT REVERSE DATE) UTF-8 ALL", "UID SORT (DATE) UTF-8 2:40",
                        "SORT RETURN (MIN MAX COUNT) (SUBJECT) UTF-8 ALL"):
            ours, peer = pair.both(command)
            assert (ours.status, peer.status) == ("OK", "OK"), command
            strip = [re.sub(rb'TAG "[^"]*"', b"", x) for x in ours.untagged]
            assert strip == [re.sub(rb'TAG "[^"]*"', b"", x) for x in peer.untagged], command
    finally:
        for client in (pair.ours, pair.peer):
            client.ok("SELECT INBOX")
