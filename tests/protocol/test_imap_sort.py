"""SORT and THREAD: order against a model, RETURN, news between two commands."""
import functools
import random

import pytest

from imap import parse

NAMES = ("Zoe", "anna", "Bert", "", "=?utf-8?q?=C3=84nne?=", "[team]")
SUBJECTS = ("apple", "Re: Apple", "Banana", "[list] re: banana (fwd)", "", "_under", "zebra",
            "Fwd: zebra", "=?utf-8?q?=C3=A4pfel?=")
BASES = {"apple": "APPLE", "Re: Apple": "APPLE", "Banana": "BANANA",
         "[list] re: banana (fwd)": "BANANA", "": "", "_under": "_UNDER", "zebra": "ZEBRA",
         "Fwd: zebra": "ZEBRA", "=?utf-8?q?=C3=A4pfel?=": "A\u0308PFEL"}
DISPLAYED = {"Zoe": "ZOE", "anna": "ANNA", "Bert": "BERT", "=?utf-8?q?=C3=84nne?=": "A\u0308NNE",
             "[team]": "[TEAM]"}


class Message:
    def __init__(self, rng, n):
        self.n = n
        self.name = rng.choice(NAMES)
        self.local = rng.choice(("m", "B", "a", "z"))
        self.to = rng.choice(("x", "Y", None))
        self.cc = rng.choice(("k", None))
        self.subject = rng.choice(SUBJECTS)
        self.sent = rng.choice((None, 1, 2, 3))
        self.arrived = rng.choice((1, 2, 3))
        self.body = "x" * rng.choice((1, 2, 100))

    def text(self):
        name = f'"{self.name}" ' if self.name.startswith("[") else f"{self.name} "
        header = [f"From: {name if self.name else ''}<{self.local}@h.test>",
                  f"Subject: {self.subject}"]
        if self.to:
            header.append(f"To: {self.to}@h.test, other@h.test")
        if self.cc:
            header.append(f"Cc: {self.cc}@h.test")
        if self.sent:
            header.append(f"Date: {self.sent} Feb 2024 00:00:00 +0000")
        return ("\r\n".join(header) + "\r\n\r\n" + self.body + "\r\n").encode()

    def keys(self):
        """What each sort key compares."""
        display = DISPLAYED.get(self.name) or f"{self.local}@h.test".upper()
        # Without a date, that of arrival counts (RFC 5256 section 2.2).
        sent = (2, self.sent) if self.sent else (3, self.arrived)
        return {"ARRIVAL": self.arrived, "SIZE": len(self.text()), "DATE": sent,
                "SUBJECT": BASES[self.subject].encode(), "FROM": self.local.upper().encode(),
                "TO": (self.to or "").upper().encode(), "CC": (self.cc or "").upper().encode(),
                "DISPLAYFROM": display.encode(),
                "DISPLAYTO": (f"{self.to}@h.test" if self.to else "").upper().encode()}


def ordered(messages, criteria):
    def compare(a, b):
        for reverse, key in criteria:
            x, y = a.keys()[key], b.keys()[key]
            if x != y:
                return (1 if x > y else -1) * (-1 if reverse else 1)
        return a.n - b.n
    return sorted(messages, key=functools.cmp_to_key(compare))


@pytest.fixture(scope="module")
def box(appliance):
    from imap_account import ImapAccount
    account = ImapAccount(appliance)
    session = account.open()
    rng = random.Random(3)
    messages = [Message(rng, n) for n in range(1, 61)]
    for m in messages:
        session.append("INBOX", m.text(), date=f"0{m.arrived}-Mar-2024 00:00:00 +0000")
    session.ok("SELECT INBOX")
    yield session, messages
    account.close()


KEYS = ("ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO")


def sorted_numbers(session, command):
    line, = session.ok(command).lines("SORT")
    return [int(n) for n in line.split()[1:]]


@pytest.mark.parametrize("key", KEYS)
def test_one_key(box, key):
    session, messages = box
    for reverse in (False, True):
        got = sorted_numbers(session, f"SORT ({'REVERSE ' if reverse else ''}{key}) UTF-8 ALL")
        assert got == [m.n for m in ordered(messages, [(reverse, key)])]


def test_many_keys(box):
    session, messages = box
    rng = random.Random(5)
    for _ in range(40):
        criteria = [(rng.random() < 0.5, rng.choice(KEYS)) for _ in range(rng.randint(1, 6))]
        text = " ".join(("REVERSE " if r else "") + k for r, k in criteria)
        low, high = sorted(rng.sample(range(1, 61), 2))
        got = sorted_numbers(session, f"UID SORT ({text}) US-ASCII {low}:{high}")
        assert got == [m.n for m in ordered(messages[low - 1:high], criteria)], text


def test_nothing_found(box):
    session, _ = box
    assert session.ok("SORT (SUBJECT) UTF-8 KEYWORD none").untagged == [b"SORT"]
    assert session.ok("THREAD REFERENCES UTF-8 KEYWORD none").untagged == [b"THREAD"]
    answer = session.ok("SORT RETURN (MIN COUNT) (DATE) UTF-8 KEYWORD none")
    assert answer.untagged[0].endswith(b" COUNT 0")


def test_return(box):
    session, messages = box
    order = [m.n for m in ordered(messages, [(False, "SUBJECT"), (True, "DATE")])]
    answer = session.ok("UID SORT RETURN (ALL COUNT MIN MAX) (SUBJECT REVERSE DATE) UTF-8 ALL")
    words = answer.lines("ESEARCH")[0].split()
    got = dict(zip(words[4::2], words[5::2]))
    assert got == {b"COUNT": b"60", b"ALL": b",".join(b"%d" % n for n in order),
                   b"MIN": b"%d" % order[0], b"MAX": b"%d" % order[-1]}
    session.ok("SORT RETURN (SAVE MIN) (SUBJECT REVERSE DATE) UTF-8 ALL")
    assert session.search("$") == [order[0]]
    assert session.ok("SORT RETURN (SAVE) (SIZE) UTF-8 5:9").untagged == []
    assert session.search("$") == [5, 6, 7, 8, 9]


def test_bad_arguments(imap_account):
    session = imap_account.open("INBOX")
    for command in ("SORT (NONSENSE) UTF-8 ALL", "SORT () UTF-8 ALL", "SORT DATE UTF-8 ALL",
                    "SORT (REVERSE) UTF-8 ALL", "SORT (DATE) UTF-8", "THREAD REFERENCES UTF-8",
                    "THREAD NONSENSE UTF-8 ALL", "THREAD REFERENCES UTF-8 "):
        assert session.run(command).status == "BAD", command
    for command in ("SORT (DATE) x-none ALL", "THREAD REFERENCES x-none ALL"):
        answer = session.run(command)
        assert answer.status == "NO" and answer.text.startswith(b"[BADCHARSET")


def test_what_changed_is_sorted_too(imap_account):
    """What is kept of a mailbox between two commands follows it: new messages, expunged ones,
    other columns, several sessions."""
    rng = random.Random(9)
    sessions = [imap_account.open() for _ in range(2)]
    messages = {}
    count = 0
    for session in sessions:
        session.ok("SELECT INBOX")
    for turn in range(12):
        for _ in range(rng.randint(0, 6)):
            count += 1
            messages[count] = Message(rng, count)
            sessions[0].append("INBOX", messages[count].text(),
                               date=f"0{messages[count].arrived}-Mar-2024 00:00:00 +0000")
        for session in sessions:
            session.ok("NOOP")
        gone = [uid for uid in messages if rng.random() < 0.15]
        if gone:
            chosen = ",".join(map(str, gone))
            sessions[1].ok(f"UID STORE {chosen} +FLAGS.SILENT (\\Deleted)")
            sessions[1].ok("EXPUNGE")
            # The other session still has them, in its view.
            key = rng.choice(KEYS)
            got = sorted_numbers(sessions[0], f"SORT ({key}) UTF-8 ALL")
            assert got == sorted_by(messages, key)
            for uid in gone:
                del messages[uid]
        for session in sessions:
            session.ok("NOOP")
            key = rng.choice(KEYS)
            got = sorted_numbers(session, f"UID SORT ({key}) UTF-8 ALL")
            assert got == [m.n for m in ordered(messages.values(), [(False, key)])], (turn, key)


def sorted_by(messages, key):
    numbers = {uid: i for i, uid in enumerate(sorted(messages), 1)}
    return [numbers[m.n] for m in ordered(messages.values(), [(False, key)])]


# --- THREAD --------------------------------------------------------------------------------------
def threads(session, command):
    line, = session.ok(command).lines("THREAD")
    return line[len(b"THREAD"):].strip().decode()


def add(session, subject, day, own=None, references=()):
    header = [f"Subject: {subject}", f"Date: {day} Feb 2024 00:00:00 +0000"]
    if own:
        header.append(f"Message-ID: <{own}@x>")
    if references:
        header.append("References: " + " ".join(f"<{r}@x>" for r in references))
    session.append("INBOX", ("\r\n".join(header) + "\r\n\r\nx\r\n").encode())


def test_references(imap_account):
    session = imap_account.open()
    add(session, "root", 1, "a")
    add(session, "Re: root", 3, "b", ["a"])
    add(session, "Re: root", 2, "c", ["a"])
    add(session, "Re: root", 4, "d", ["a", "b"])
    add(session, "other", 5, "e")
    add(session, "lost one", 6, "f", ["gone"])
    add(session, "lost two", 7, "g", ["gone"])
    add(session, "deep", 8, "h", ["away", "e"])
    session.ok("SELECT INBOX")
    assert threads(session, "THREAD REFERENCES UTF-8 ALL") == "(1 (3)(2 4))(5 8)((6)(7))"
    assert threads(session, "UID THREAD REFERENCES UTF-8 2:4") == "((3)(2 4))"
    # The same subject brings threads together that no reference does.
    add(session, "Re: other", 9, "i")
    session.ok("NOOP")
    assert threads(session, "THREAD REFERENCES UTF-8 ALL") == "(1 (3)(2 4))(5 (8)(9))((6)(7))"
    assert threads(session, "THREAD REFERENCES UTF-8 1,5,9") == "(1)(5 9)"


def test_ordered_subject(imap_account):
    session = imap_account.open()
    for subject, day in (("b", 3), ("Re: a", 2), ("a", 1), ("Fwd: b", 4), ("RE: A", 5), ("c", 0)):
        add(session, subject, day or 28)
    session.ok("SELECT INBOX")
    assert threads(session, "THREAD ORDEREDSUBJECT UTF-8 ALL") == "(3 (2)(5))(1 4)(6)"


def leaves(tokens):
    for t in tokens:
        if isinstance(t, list):
            yield from leaves(t)
        else:
            yield int(t)


def test_loops_and_long_chains(imap_account):
    """Whatever the references say, each message is there once."""
    session = imap_account.open()
    rng = random.Random(2)
    count = 150
    for n in range(count):
        references = [rng.randrange(count) for _ in range(rng.randint(0, 4))]
        add(session, rng.choice(("s", "Re: s", f"t{n % 9}")), rng.randint(1, 28),
            rng.choice((n, n, rng.randrange(count))), references)
    add(session, "long", 1, "long", range(1000, 6000))
    session.ok("SELECT INBOX")
    line = session.ok("THREAD REFERENCES UTF-8 ALL").lines("THREAD")[0]
    assert sorted(leaves(parse(line[7:]))) == list(range(1, count + 2))
