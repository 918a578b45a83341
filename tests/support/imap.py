"""A plain IMAP client for tests: every byte of every answer is looked at, nothing is guessed."""
import re

LITERAL = re.compile(rb"~?\{(\d+)\}\r\n$")


class Answer:
    """The tagged answer of a command and the untagged lines before it, literals in them."""

    def __init__(self, status, text, untagged):
        self.status = status
        self.text = text
        self.untagged = untagged

    def __repr__(self):
        return f"{self.status} {self.text!r} {self.untagged[:20]!r}"

    def lines(self, word):
        """Untagged lines "* WORD ..." without "* "."""
        word = word.encode()
        return [line for line in self.untagged if line.split(b" ", 1)[0].upper() == word]


class Atom(bytes):
    """What stood there without quotes."""


def parse(line, at=0):
    """All tokens of a line: Atom, bytes, None (NIL), lists."""
    stack = [[]]
    while at < len(line):
        c = line[at:at + 1]
        if c == b" ":
            at += 1
        elif c == b"(":
            stack.append([])
            at += 1
        elif c == b")":
            done = stack.pop()
            stack[-1].append(done)
            at += 1
        elif c == b'"':
            text = bytearray()
            at += 1
            while line[at:at + 1] != b'"':
                if line[at:at + 1] == b"\\":
                    at += 1
                text += line[at:at + 1]
                at += 1
            stack[-1].append(bytes(text))
            at += 1
        elif c == b"{" or line[at:at + 2] == b"~{":
            end = line.index(b"}\r\n", at)
            size = int(line[line.index(b"{", at) + 1:end])
            stack[-1].append(line[end + 3:end + 3 + size])
            assert len(stack[-1][-1]) == size, line
            at = end + 3 + size
        else:
            start = at
            depth = 0
            # "BODY[HEADER.FIELDS (A B)]<0>" is one word.
            while at < len(line):
                c = line[at:at + 1]
                if c == b"[":
                    depth += 1
                elif c == b"]":
                    depth -= 1
                elif depth == 0 and c in b" ()":
                    break
                at += 1
            word = line[start:at]
            stack[-1].append(None if word.upper() == b"NIL" else Atom(word))
    assert len(stack) == 1, line
    return stack[0]


class Imap:
    """with Imap(appliance.connect("imap")) as c: c.login("alice@example.test", "...")"""

    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("rb")
        self.number = 0
        self.greeting = self.read_line()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()

    def close(self):
        self.file.close()
        self.sock.close()

    def read_line(self):
        """One line with the literals in it, without its CRLF."""
        whole = b""
        while True:
            line = self.file.readline()
            if not line.endswith(b"\r\n"):
                raise EOFError(whole + line)
            whole += line
            found = LITERAL.search(line)
            if not found:
                return whole[:-2]
            size = int(found.group(1))
            data = self.file.read(size)
            if len(data) != size:
                raise EOFError(whole)
            whole += data

    def send(self, data):
        self.sock.sendall(data)

    def start(self, command):
        """Sends a command; its tag. bytes in a tuple become literals, each after its "+"."""
        self.number += 1
        tag = f"a{self.number}".encode()
        parts = command if isinstance(command, tuple) else (command,)
        line = tag + b" "
        for part in parts:
            if isinstance(part, bytes):
                self.send(line + b"{%d}\r\n" % len(part))
                go = self.read_line()
                if not go.startswith(b"+"):
                    self.refused = go
                    return tag
                line = part
            else:
                line += part.encode()
        self.refused = None
        self.send(line + b"\r\n")
        return tag

    def finish(self, tag):
        untagged = []
        line = self.refused
        while True:
            line = line or self.read_line()
            if line.startswith(b"* "):
                untagged.append(line[2:])
            elif line.startswith(tag + b" "):
                status, _, text = line[len(tag) + 1:].partition(b" ")
                return Answer(status.decode(), text, untagged)
            else:
                raise AssertionError(line)
            line = None

    def run(self, command):
        return self.finish(self.start(command))

    def ok(self, command):
        answer = self.run(command)
        assert answer.status == "OK", (command, answer)
        return answer

    def login(self, user, password):
        return self.ok(("LOGIN ", user.encode(), " ", password.encode()))

    def append(self, mailbox, message, flags="", date=None):
        date = f'"{date}" ' if date else ""
        return self.ok((f"APPEND {mailbox} ({flags}) {date}", message))

    def fetch(self, messages, items, uid=False):
        """{number: {item: value}}"""
        answer = self.ok(f"{'UID ' if uid else ''}FETCH {messages} {items}")
        return fetched(answer)

    def search(self, keys, uid=False):
        answer = self.ok(f"{'UID ' if uid else ''}SEARCH {keys}" if isinstance(keys, str)
                         else (f"{'UID ' if uid else ''}SEARCH ",) + keys)
        lines = answer.lines("SEARCH")
        assert len(lines) == 1, answer
        return [int(n) for n in re.sub(rb" \(MODSEQ \d+\)$", b"", lines[0]).split()[1:]]


def fetched(answer):
    """The FETCH data of an answer: {number: {item: value}}; of several the later counts."""
    found = {}
    for line in answer.untagged:
        number, _, rest = line.partition(b" ")
        if not rest.upper().startswith(b"FETCH ("):
            continue
        tokens = parse(rest[6:])[0]
        values = found.setdefault(int(number), {})
        for i in range(0, len(tokens), 2):
            values[tokens[i].decode()] = tokens[i + 1]
    return found
