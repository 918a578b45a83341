"""An account of a test's own, and its IMAP sessions."""
import itertools
import re

from appliance import PASSWORD
from imap import Imap

NUMBERS = itertools.count(1)
MESSAGE = b"From: a@example.test\r\nSubject: one\r\nMessage-ID: <1@example.test>\r\n\r\nText\r\n"


class ImapAccount:
    def __init__(self, appliance):
        self.appliance = appliance
        self.address = f"user{next(NUMBERS)}@example.test"
        self.sessions = []
        appliance.add_account(self.address)

    def open(self, mailbox=None):
        """A session that is logged in."""
        session = Imap(self.appliance.connect("imaps"))
        self.sessions.append(session)
        session.login(self.address, PASSWORD)
        if mailbox:
            session.ok(f"SELECT {mailbox}")
        return session

    def close(self):
        for session in self.sessions:
            session.close()


def fill(session, mailbox, count, flags=""):
    for _ in range(count):
        session.append(mailbox, MESSAGE, flags)


def status(session, mailbox, *items):
    """{item: number} of STATUS."""
    answer = session.ok(f"STATUS {mailbox} ({' '.join(items)})")
    line = answer.lines("STATUS")[0].decode()
    words = re.fullmatch(r'STATUS (?:"[^"]*"|\S+) \((.*)\)', line).group(1)
    words = words.replace("(", "").replace(")", "").split()
    return {k: int(v) if v.isdigit() else v for k, v in zip(words[::2], words[1::2])}
