"""Broken dialogues at random: the server answers in lines of the protocol, and stays."""
import os
import random
import re
import socket
import time

from appliance import PASSWORD, Appliance
from imap import Imap
from imap_account import fill

SECONDS = float(os.environ.get("MS_GARBAGE_SECONDS", "4"))
SEED = int(os.environ.get("MS_GARBAGE_SEED", random.randrange(1000000)))
ANSWER = re.compile(rb"(\*|\+|[^\x00-\x20\x7f-\xff(){%*\"\\+]{1,64}) ")
NUMBERS = [b"0", b"1", b"2147483648", b"4294967295", b"4294967296", b"18446744073709551616",
           b"9" * 40, b"-1", b"*", b"1:*", b"4294967295:1", b",".join([b"1:9"] * 500)]
COMMANDS = [
    b"CAPABILITY", b"NOOP", b'ID ("name" "x" "version" NIL)', b"LOGIN a {3+}\r\nabc",
    b"AUTHENTICATE PLAIN AGEAYg==", b"AUTHENTICATE LOGIN", b"*", b"ENABLE CONDSTORE QRESYNC",
    b"NAMESPACE", b"IDLE", b"DONE", b"SELECT INBOX", b"SELECT INBOX (CONDSTORE)",
    b"SELECT INBOX (QRESYNC (1 1 1:* (1,2 1,2)))", b"EXAMINE {5+}\r\nINBOX", b"CREATE a/b (USE (\\Sent))",
    b"DELETE a/b", b"RENAME a c", b"SUBSCRIBE c", b"UNSUBSCRIBE c", b'LIST "" "*"',
    b'LIST (SUBSCRIBED) "" ("a" "%/%") RETURN (CHILDREN STATUS (MESSAGES))', b'LSUB "" %',
    b"STATUS INBOX (MESSAGES UIDNEXT UNSEEN SIZE HIGHESTMODSEQ)", b"CHECK", b"EXPUNGE", b"CLOSE",
    b'APPEND INBOX (\\Seen k) " 1-Jan-2020 00:00:00 +0000" {20+}\r\nSubject: x\r\n\r\ntext\r\n',
    b"APPEND INBOX {3+}\r\nabc {3+}\r\ndef", b"APPEND INBOX ~{3+}\r\nabc", b"UNSELECT",
    b"FETCH 1:* (FLAGS UID BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)]<0.10> ENVELOPE BODYSTRUCTURE)",
    b"UID FETCH 1 (BINARY.PEEK[1] PREVIEW MODSEQ) (CHANGEDSINCE 1 VANISHED)", b"FETCH 1 ALL",
    b"STORE 1 (UNCHANGEDSINCE 5) +FLAGS.SILENT (\\Seen k)", b"UID STORE 1:2 -FLAGS k",
    b"COPY 1 INBOX", b"MOVE 1 INBOX", b"UID EXPUNGE 1:*", b"REPLACE 1 INBOX {3+}\r\nabc",
    b'SEARCH OR (NOT SEEN) (FROM "a" SINCE 1-Jan-2020) UID 1:* LARGER 10 HEADER X ""',
    b"SEARCH RETURN (MIN MAX COUNT ALL SAVE) CHARSET UTF-8 TEXT {2+}\r\n\xc3\xa9", b"FETCH $ UID",
    b"SORT (REVERSE DATE SUBJECT) UTF-8 ALL", b"THREAD REFERENCES UTF-8 ALL", b'GETQUOTA ""',
    b"GETQUOTAROOT INBOX", b'SETQUOTA "" (STORAGE 1)', b"STARTTLS"]


def mutate(rng, line):
    kind = rng.randrange(10)
    at = rng.randrange(len(line) + 1)
    if kind == 0:
        return line[:at] + bytes([rng.randrange(256)]) + line[at:]
    if kind == 1:
        return line[:at] + line[at + rng.randint(1, 4):]
    if kind == 2:
        return line[:at] + bytes([rng.randrange(256)]) + line[at + 1:]
    if kind == 3:
        other = rng.choice(COMMANDS)
        return line[:at] + other[rng.randrange(len(other)):]
    if kind == 4:
        digits = [i for i, c in enumerate(line) if chr(c).isdigit()]
        if digits:
            at = rng.choice(digits)
            return line[:at] + rng.choice(NUMBERS) + line[at + 1:]
    if kind == 5:
        return line[:at] + rng.choice([b"(", b")", b'"', b"{", b"}", b" ", b"\r\n", b"\\"]) * \
            rng.choice([1, 2, 3000]) + line[at:]
    if kind == 6:
        return line[:at] + b"{%d%s}\r\n" % (rng.choice([0, 1, 5, 70000, 2**32]),
                                              rng.choice([b"", b"+"])) + line[at:]
    return line


def read_all(sock, seconds):
    data = b""
    sock.settimeout(seconds)
    try:
        while not data.endswith(b"zz OK Nothing done\r\n"):
            part = sock.recv(65536)
            if not part:
                break
            data += part
    except OSError:
        pass
    return data


def check_lines(data):
    """Literals aside, every line is an answer."""
    while data:
        line, end, data = data.partition(b"\r\n")
        assert ANSWER.match(line) or not end, line
        while end and line.endswith(b"}") and b"{" in line:
            size = line[line.rindex(b"{") + 1:-1]
            if not size.isdigit():
                break
            data = data[int(size):]
            line, end, data = data.partition(b"\r\n")
        assert b"\0" not in line and b"\n" not in line, line


def dialogue(rng, appliance):
    sock = socket.create_connection(("127.0.0.1", appliance.ports["imap"]))
    start = [b"a LOGIN stress@example.test {%d+}\r\n%s\r\n" % (len(PASSWORD), PASSWORD.encode()),
             b"a SELECT INBOX\r\n"]
    lines = start[:rng.choice([0, 1, 2, 2, 2])]
    for n in range(rng.randint(1, 40)):
        lines.append(b"a%d " % n + mutate(rng, rng.choice(COMMANDS)) + b"\r\n")
    data = b"".join(lines)
    try:
        while data:
            n = rng.choice([1, 10, 1000, 100000])
            sock.sendall(data[:n])
            data = data[n:]
        # Whatever the server still waits for: DONE, a literal, a line.
        sock.sendall(b"\r\nDONE\r\n\r\nzz NOOP\r\n")
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    check_lines(read_all(sock, 30))
    sock.close()


def test_garbage():
    print(f"MS_GARBAGE_SEED={SEED}")
    rng = random.Random(SEED)
    with Appliance(listeners={"imap": {"login_without_tls": "yes"}}, accounts=("stress",),
                   settings={"imap.bad_commands_max": "1000"}) as a:
        with Imap(a.connect("imap")) as c:
            c.login("stress@example.test", PASSWORD)
            fill(c, "INBOX", 3)
        end = time.monotonic() + SECONDS
        dialogues = 0
        while time.monotonic() < end:
            dialogue(rng, a)
            dialogues += 1
        log = a.log_text()
        assert log.count("event=program-ready program=imapd-worker") == 1, "it was started again"
        with Imap(a.connect("imap")) as c:
            c.login("stress@example.test", PASSWORD)
            c.ok("SELECT INBOX")
        print(f"{dialogues} dialogues")
        assert dialogues > 5
