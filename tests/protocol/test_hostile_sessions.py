"""What hostile clients send to IMAP and POP3: NUL everywhere, numbers that overflow, parentheses
without end, commands in any order. The answer is one of the protocol, and the session goes on."""
import os
import random

import pytest

from appliance import PASSWORD
from imap_account import MESSAGE

NUMBERS = ["0", "1", "2147483647", "2147483648", "4294967295", "4294967296", "4294967297",
           "9223372036854775807", "9223372036854775808", "18446744073709551615",
           "18446744073709551616", "9" * 40, "+1", "-1", "1.0", "0x1", "00000000000000000001", ""]
SEED = int(os.environ.get("MS_HOSTILE_SEED", random.randrange(1000000)))


class Pop3:
    """Line by line, nothing hidden."""

    def __init__(self, appliance, address):
        self.sock = appliance.connect("pop3s")
        self.file = self.sock.makefile("rb")
        assert self.line().startswith(b"+OK")
        assert self.run(b"USER " + address.encode()).startswith(b"+OK")
        assert self.run(b"PASS " + PASSWORD.encode()).startswith(b"+OK")

    def line(self):
        line = self.file.readline()
        assert line.endswith(b"\r\n"), line
        return line

    def run(self, command, many=False):
        self.sock.sendall(command + b"\r\n")
        line = first = self.line()
        assert line.startswith((b"+OK", b"-ERR")), line
        while many and first.startswith(b"+OK") and line != b".\r\n":
            line = self.line()
        return first

    def close(self):
        self.file.close()
        self.sock.close()


@pytest.fixture
def maildrop(imap_account):
    session = imap_account.open()
    for _ in range(3):
        session.append("INBOX", MESSAGE)
    opened = []

    def make():
        opened.append(Pop3(imap_account.appliance, imap_account.address))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


# --- POP3 ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("command", [b"STAT", b"LIST 1", b"RETR 2", b"TOP 1 0", b"UIDL", b"RSET"])
def test_pop3_nul_at_every_position(maildrop, command):
    """Each kills nothing but its own line; a session ends after so many errors, not before."""
    session = maildrop()
    for at in range(len(command) + 1):
        answer = session.run(command[:at] + b"\0" + command[at:])
        assert answer.startswith(b"-ERR"), (at, answer)
    assert session.run(b"STAT").startswith(b"+OK 3 ")


@pytest.mark.parametrize("command", ["LIST {}", "UIDL {}", "RETR {}", "DELE {}", "TOP {} 0", "TOP 1 {}"])
def test_pop3_numbers(maildrop, command):
    session = maildrop()
    for n, number in enumerate(NUMBERS):
        if n % 15 == 14:            # errors are counted
            session.close()
            session = maildrop()
        line = command.format(number).encode()
        is_list = number == "" and command in ("LIST {}", "UIDL {}")
        session.run(line, many=is_list or command[:4] in ("RETR", "TOP "))
        assert session.run(b"NOOP").startswith(b"+OK")


def test_pop3_any_order(maildrop):
    print(f"MS_HOSTILE_SEED={SEED}")
    rng = random.Random(SEED)
    commands = [b"STAT", b"LIST", b"LIST 1", b"UIDL", b"UIDL 2", b"RETR 1", b"RETR 3", b"TOP 2 1",
                b"DELE 1", b"DELE 3", b"RSET", b"NOOP", b"CAPA", b"USER x", b"PASS x", b"STLS",
                b"UTF8", b"AUTH", b"AUTH PLAIN =", b"\xff", b"", b"RETR", b"QUIT x"]
    many = (b"CAPA", b"LIST", b"UIDL")
    for _ in range(10):
        session = maildrop()
        deleted, errors = set(), 0
        for _ in range(300):
            command = rng.choice(commands)
            word, _, argument = command.partition(b" ")
            answer = session.run(command, many=command in many or word in (b"RETR", b"TOP"))
            if argument.split(b" ")[0] in deleted and word in (b"LIST", b"UIDL", b"RETR", b"TOP",
                                                               b"DELE"):
                assert answer.startswith(b"-ERR"), (command, deleted)
            elif word == b"DELE":
                assert answer.startswith(b"+OK")
                deleted.add(argument)
            if command == b"RSET":
                deleted.clear()
            if command == b"STAT":
                assert answer.startswith(b"+OK %d " % (3 - len(deleted))), (answer, deleted)
            errors += answer.startswith(b"-ERR")
            if errors == 15:
                break
        session.run(b"RSET")
        session.run(b"QUIT")
        session.close()


# --- IMAP ---------------------------------------------------------------------------------------
SLOTS = ["FETCH {} FLAGS", "UID FETCH {} FLAGS", "FETCH 1:{} UID", "FETCH {}:* UID",
         "FETCH 1 BODY.PEEK[]<{}.5>", "FETCH 1 BODY.PEEK[]<5.{}>", "FETCH 1 BODY.PEEK[{}]",
         "FETCH 1 BODY.PEEK[1.{}.TEXT]", "FETCH 1 BINARY.PEEK[1]<{}.{}>", "FETCH 1 BINARY.SIZE[{}]",
         "FETCH 1 (FLAGS) (CHANGEDSINCE {})", "UID FETCH 1 (UID) (CHANGEDSINCE {} VANISHED)",
         "STORE 1 (UNCHANGEDSINCE {}) FLAGS (\\Seen)", "UID STORE {} +FLAGS (x)", "COPY {} Trash",
         "SEARCH LARGER {}", "SEARCH SMALLER {}", "SEARCH OLDER {}", "SEARCH YOUNGER {}",
         "SEARCH MODSEQ {}", "SEARCH UID {}", "SEARCH {}", "SEARCH UID {}:*", "SEARCH EMAILID M{}",
         "SEARCH THREADID T{}", "UID EXPUNGE {}", "MOVE {} Archive", "SORT (SIZE) UTF-8 {}",
         "THREAD REFERENCES UTF-8 UID {}", "SELECT INBOX (QRESYNC ({} 1))",
         "SELECT INBOX (QRESYNC (1 {}))", "SELECT INBOX (QRESYNC (1 1 {}))",
         "SELECT INBOX (QRESYNC (1 1 1 ({} {})))", "SETQUOTA \"\" (STORAGE {})"]


@pytest.fixture
def busy(make_appliance):
    """A session that may make as many errors as it likes."""
    from imap import Imap
    appliance = make_appliance(settings={"imap.bad_commands_max": "1000"}, accounts=("alice",))
    with Imap(appliance.connect("imaps")) as c:
        c.login("alice@example.test", PASSWORD)
        c.ok("ENABLE QRESYNC")
        for _ in range(3):
            c.append("INBOX", MESSAGE)
        yield c


def test_imap_numbers_and_parentheses(busy):
    for slot in SLOTS:
        busy.ok("SELECT INBOX")
        for number in NUMBERS:
            answer = busy.run(slot.replace("{}", number))
            assert answer.status in ("OK", "NO", "BAD"), (slot, number, answer)
            if not slot.startswith("SELECT"):
                continue
            if answer.status != "OK":
                busy.ok("SELECT INBOX")
    for text in ("SEARCH " + "(" * 30000, "SEARCH " + "(" * 300 + "ALL" + ")" * 300,
                 "SEARCH " + "NOT " * 10000 + "ALL", "SEARCH " + "OR " * 10000 + "ALL",
                 "FETCH 1 " + "(" * 30000, "FETCH 1 (" + "UID " * 10000 + "UID)",
                 "FETCH 1 BODY.PEEK[" + "1." * 20000 + "1]", "STORE 1 FLAGS " + "(" * 30000,
                 "FETCH 1 BODY.PEEK[HEADER.FIELDS (" + "a " * 20000 + "a)]", "ID " + "(" * 30000,
                 "LIST " + "(" * 30000, 'LIST "" ' + "(" * 30000, 'LIST "" "' + "%*" * 20000 + '"',
                 "THREAD " + "(" * 30000, "SORT " + "(" * 30000, "STATUS INBOX " + "(" * 30000,
                 "FETCH " + "1," * 20000 + "1 UID", "SEARCH UID " + "1:*," * 9000 + "1"):
        answer = busy.run(text)
        assert answer.status in ("OK", "NO", "BAD"), text[:50]
        assert busy.ok("NOOP").status == "OK"
