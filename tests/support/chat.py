"""Dialogues in .chat files: what a client says, byte for byte, and what it must hear.

One behaviour a file. Lines before the first `connect` or `include` are the head:

    # why this dialogue exists
    set NAME VALUE        a setting; files with the same settings share one appliance
    account NAME ...      accounts of this run's own: ${NAME} is the address,
                          ${NAME_local} what stands before its @
    ctl WORD ...          an administrator's command before the dialogue
    splits                run also once for each place where TCP may cut what the client says,
                          next to CR, LF, NUL and dots (all places with `splits all`; with
                          `splits case` only in and next to what the table gave)
    with NAME             one case for each of the indented lines that follow: ${NAME}

Then steps, one a line:

    connect [NAME=]LISTENER   and use it; a later `use NAME` goes back to it
    connect-raw ...           the same without TLS, which `starttls` begins
    include FILE              steps of FILE.inc
    C: text                   the client sends the line and CRLF; C: lines that follow each other
                              leave in one piece
    C+ text                   the same without CRLF
    S: text                   the server's next line is this
    S/ regex                  ... matches this from end to end; (?P<x>...) sets ${x}
    S* regex                  lines are passed over up to one that matches
    starttls                  the TLS handshake
    closed                    the server closes, and says no more; gone: whatever it says
    drop                      we close; shut: we close our half
    accepted N                this connection's session had N messages accepted (its log says so)
    event regex               the log has a line of this session that matches; noevent regex: none
    ctl WORD ...              a command; O/ regex: found in its output; O! regex: not found
    until WORD ...            a command, again and again until the next O/ line is found in it
    delivered QID             the message is in the mailboxes
    settled QID               and out of the queue
    mail NAME                 the next message in NAME's INBOX comes within a minute, and is removed
    M: text, M/ regex, M* regex   its lines, as S; M! regex: nowhere in it; M. : it ends here

Text knows \\r \\n \\t \\0 \\\\ \\xHH, ${name}, \\b64{text}, \\*{N}{text}, and in what the client
sends \\| where TCP cuts it in two. ${id} is new in each run; ${password} is every account's; ${port}
is the port of our side, ${port16} in two bytes.
"""
import atexit
import base64
import fcntl
import os
import re
import socket
import struct
import time

from appliance import Appliance, PASSWORD, tls_context

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                      "protocol", "chat")
TIMEOUT = 20
STEPS = {"connect", "connect-raw", "use", "include", "C:", "C+", "S:", "S/", "S*", "starttls", "closed", "gone", "drop",
         "shut", "accepted", "event", "noevent", "ctl", "until", "delivered", "settled", "O/", "O!", "mail", "M:", "M/", "M*",
         "M!", "M."}
SIOCOUTQNSD = 0x894B  # bytes that TCP has not sent yet
SPLIT_BYTES = b"\r\n.\0"


class Wrong(Exception):
    """The dialogue went another way."""


# --- files ---------------------------------------------------------------------------------------
class Chat:
    """A parsed file."""

    def __init__(self, path):
        self.path = path
        self.name = os.path.basename(path)[:-5]
        self.settings, self.listeners = {}, {}
        self.accounts, self.commands, self.steps = [], [], []
        self.table, self.values = None, [None]
        self.splits = None
        with open(path, encoding="utf-8") as lines:
            self.parse(lines.read().splitlines())

    def bad(self, number, why):
        raise ValueError(f"{self.path}:{number}: {why}")

    def parse(self, lines):
        is_head = True
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            if line[0] in " \t":
                if self.table is None or not is_head:
                    self.bad(number, "indented, but no table")
                self.values.append(line.strip())
                continue
            word, _, rest = line.partition(" ")
            is_head = is_head and word not in ("connect", "connect-raw", "include")
            if is_head:
                self.head(number, word, rest)
            elif word == "include":
                self.include(number, rest.strip())
            else:
                self.step(number, word, rest)
        if self.table:
            self.values.pop(0)
        if not self.steps or not self.values:
            self.bad(len(lines), "nothing to do")

    def head(self, number, word, rest):
        if word == "set":
            name, _, value = rest.partition(" ")
            if name.startswith("listener."):
                _, listener, key = name.split(".")
                self.listeners.setdefault(listener, {})[key] = value
            else:
                self.settings[name] = value
        elif word == "account":
            self.accounts += rest.split()
        elif word == "ctl":
            self.commands.append((number, rest))
        elif word == "splits":
            self.splits = rest or "near"
        elif word == "with":
            self.table = rest
        else:
            self.bad(number, f"{word!r} is not of the head")

    def step(self, number, word, rest):
        if word not in STEPS:
            self.bad(number, f"no such step: {word!r}")
        self.steps.append((number, word, rest))

    def include(self, number, name):
        with open(os.path.join(FOLDER, f"{name}.inc"), encoding="utf-8") as lines:
            for line in lines.read().splitlines():
                if line.strip() and not line.startswith("#"):
                    word, _, rest = line.partition(" ")
                    self.step(number, word, rest)

    def cases(self):
        """(name for people, value of the table, whether at all splits)"""
        for value in self.values:
            yield (value or "", value, False)
        if self.splits:
            for value in self.values:
                yield (f"{value or ''} split", value, True)


# --- texts ---------------------------------------------------------------------------------------
ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}


class Text:
    """A text with its escapes: bytes, and where it is cut."""

    def __init__(self, text, variables):
        self.text, self.variables = text, variables
        self.at, self.cuts = 0, []
        self.bytes = self.take(None)

    def braces(self):
        if self.text[self.at:self.at + 1] != "{":
            raise ValueError(f"no {{ in {self.text!r}")
        self.at += 1
        return self.take("}")

    def escape(self, out):
        c = self.text[self.at:self.at + 1]
        self.at += 1
        if c in ESCAPES:
            out += ESCAPES[c]
        elif c == "x":
            out.append(int(self.text[self.at:self.at + 2], 16))
            self.at += 2
        elif c == "|":
            self.cuts.append(len(out))
        elif self.text.startswith("b64", self.at - 1):
            self.at += 2
            out += base64.b64encode(self.braces())
        elif c == "*":
            count = int(self.braces())
            out += self.braces() * count
        else:
            raise ValueError(f"unknown escape \\{c} in {self.text!r}")

    def take(self, end):
        out = bytearray()
        while self.at < len(self.text):
            c = self.text[self.at]
            if c == end:
                self.at += 1
                return bytes(out)
            if c == "\\":
                self.at += 1
                self.escape(out)
            elif self.text.startswith("${", self.at):
                close = self.text.index("}", self.at)
                out += value_of(self.text[self.at + 2:close], self.variables)
                self.at = close + 1
            else:
                out += c.encode()
                self.at += 1
        if end:
            raise ValueError(f"no {end} in {self.text!r}")
        return bytes(out)


def value_of(name, variables):
    value = variables[name]
    return Text(value, variables).bytes if isinstance(value, str) else value


def pattern(text, variables):
    def insert(match):
        return re.escape(value_of(match.group(1), variables).decode("latin-1"))

    return re.compile(re.sub(r"\$\{(\w+)\}", insert, text))


# --- one connection -------------------------------------------------------------------------------
def unread_by_server(sock):
    """Whether the server has not yet read all that was sent to it (loopback, IPv4)."""
    if sock.family != socket.AF_INET:
        return False
    if struct.unpack("i", fcntl.ioctl(sock.fileno(), SIOCOUTQNSD, b"\0\0\0\0"))[0] > 0:
        return True
    mine, theirs = sock.getsockname()[1], sock.getpeername()[1]
    wanted = re.compile(rf"^\s*\d+: 0100007F:{theirs:04X} 0100007F:{mine:04X} \w\w "
                        r"\w+:(\w+) ", re.M)
    with open("/proc/net/tcp", encoding="ascii") as table:
        found = wanted.search(table.read())
    return bool(found and int(found.group(1), 16) > 0)


class Connection:
    def __init__(self, appliance, listener, is_raw=False):
        self.sock = appliance.connect(listener, timeout=TIMEOUT, is_raw=is_raw)
        self.port = 0
        if self.sock.family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.port = self.sock.getsockname()[1]
        self.input = b""
        self.is_over = False

    def starttls(self):
        if self.input:
            raise Wrong(f"before the handshake came {self.input!r}")
        self.sock = tls_context().wrap_socket(self.sock, server_hostname="mail.example.test")

    def send(self, data, cuts):
        last = 0
        try:
            for cut in [*cuts, len(data)]:
                if cut > last:
                    self.sock.sendall(data[last:cut])
                if cut < len(data):
                    self.wait_until_read()
                last = cut
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass  # what was said before the close still counts

    def wait_until_read(self):
        """So that the next bytes come in a read of their own. A server that has reason not to
        read now is not waited for long."""
        end = time.monotonic() + 0.2
        while time.monotonic() < end and unread_by_server(self.sock):
            time.sleep(0.0002)

    def fill(self):
        try:
            data = self.sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        except TimeoutError as late:
            raise Wrong(f"the server says nothing; before: {self.input!r}") from late
        self.is_over = self.is_over or not data
        self.input += data
        return bool(data)

    def line(self):
        while b"\n" not in self.input:
            if self.is_over or not self.fill():
                raise Wrong(f"the server closed; before: {self.input!r}")
        line, self.input = self.input.split(b"\n", 1)
        if not line.endswith(b"\r"):
            raise Wrong(f"a line without CR: {line!r}")
        return line[:-1].decode("utf-8", "backslashreplace")

    def closed(self):
        while not self.is_over and self.fill():
            pass
        if self.input:
            raise Wrong(f"the server says more: {self.input!r}")

    def close(self):
        self.sock.close()


# --- one run ---------------------------------------------------------------------------------------
class Run:
    count = 0

    def __init__(self, chat, appliance, case, split=None):
        Run.count += 1
        self.chat, self.appliance, self.split = chat, appliance, split
        self.variables = {"id": f"{os.getpid():x}x{Run.count:x}".encode(),
                          "password": PASSWORD.encode(), "host": b"mail.example.test"}
        if chat.table:
            self.variables[chat.table] = case
        self.connections, self.conn = {}, None
        self.output, self.message = "", None
        self.again = None
        self.said = []      # the transcript
        self.chunks = []    # lengths and bytes of what the client sent, for the splits
        self.pending = b""
        self.pending_cuts = []
        self.number = 0
        self.log_start = os.path.getsize(appliance.log)

    def text(self, text):
        return Text(text, self.variables).bytes.decode("utf-8", "backslashreplace")

    def run(self):
        for name in self.chat.accounts:
            address = f"{name}-{self.chat.name}-{os.getpid()}@example.test"
            self.variables[name] = address.encode()
            self.variables[f"{name}_local"] = address.split("@")[0].encode()
            ensure_account(self.appliance, address)
        try:
            for self.number, words in self.chat.commands:
                self.appliance.ctl(*self.text(words).split())
            for self.number, word, rest in self.chat.steps:
                if word not in ("C:", "C+"):
                    self.flush()
                self.step(word, rest)
            self.flush()
        except Wrong as wrong:
            raise Wrong(f"{self.chat.path}:{self.number}: {wrong}\n" + self.report()) from None
        finally:
            for conn in self.connections.values():
                conn.close()

    def report(self):
        return "\n".join([*self.said[-60:], "--- log ---", *self.session_lines()[-20:]])

    def flush(self):
        if not self.pending:
            return
        data, cuts = self.pending, self.pending_cuts
        self.pending, self.pending_cuts = b"", []
        if self.split and self.split[0] == len(self.chunks):
            cuts = sorted({*cuts, self.split[1]})
        self.chunks.append(data)
        self.said.append(f"C {data[:2000]!r}" + (f" cut at {cuts}" if cuts else ""))
        self.conn.send(data, cuts)

    def step(self, word, rest):
        if word in ("C:", "C+"):
            text = Text(rest, self.variables)
            start = len(self.pending)
            self.pending_cuts += [start + cut for cut in text.cuts]
            self.pending += text.bytes + (b"\r\n" if word == "C:" else b"")
        elif word[1:] in (":", "/", "*", "!", "."):
            {"S": self.hear, "M": self.read, "O": self.look}[word[0]](word[1], rest)
        else:
            getattr(self, "do_" + word.replace("-", "_"))(rest)

    def match(self, kind, rest, line):
        if kind == ":":
            if line != self.text(rest):
                raise Wrong(f"expected {self.text(rest)!r}, got {line!r}")
            return True
        found = pattern(rest, self.variables).fullmatch(line)
        if not found and kind == "/":
            raise Wrong(f"expected {rest!r}, got {line!r}")
        if found:
            for name, value in found.groupdict().items():
                self.variables[name] = value.encode()
        return bool(found)

    def hear(self, kind, rest):
        while True:
            line = self.conn.line()
            self.said.append(f"S {line!r}")
            if self.match(kind, rest, line):
                return

    def read(self, kind, rest):
        if kind == "!":
            found = pattern(rest, self.variables).search("\n".join(self.message))
            if found:
                raise Wrong(f"the message has {found.group(0)!r}: {self.message!r}")
            return
        if kind == ".":
            if self.message:
                raise Wrong(f"the message goes on: {self.message!r}")
            return
        while self.message:
            line = self.message.pop(0)
            self.said.append(f"M {line!r}")
            if self.match(kind, rest, line):
                return
        raise Wrong(f"the message ended before {rest!r}")

    def look(self, kind, rest):
        if self.again and kind == "/":
            words, self.again = self.again, None
            wanted = pattern(rest, self.variables)
            self.until(lambda: self.do_ctl(words) or wanted.search(self.output),
                       f"no {rest!r} in {words!r}")
        found = pattern(rest, self.variables).search(self.output)
        if bool(found) != (kind == "/"):
            raise Wrong(f"{'no ' if kind == '/' else ''}{rest!r} in {self.output!r}")

    def do_connect(self, rest, is_raw=False):
        name, _, listener = self.text(rest).rpartition("=")
        self.conn = Connection(self.appliance, listener.strip(), is_raw)
        self.variables["port"] = str(self.conn.port).encode()
        self.variables["port16"] = struct.pack(">H", self.conn.port)
        self.connections[name.strip() or listener.strip()] = self.conn
        self.said.append(f"connect {rest}")

    def do_connect_raw(self, rest):
        self.do_connect(rest, True)

    def do_use(self, rest):
        self.conn = self.connections[rest.strip()]
        self.said.append(f"use {rest}")

    def do_starttls(self, rest):
        self.conn.starttls()
        self.said.append("starttls")

    def do_gone(self, rest):
        while self.conn.fill():
            pass

    def do_closed(self, rest):
        self.conn.closed()
        self.said.append("closed")

    def do_drop(self, rest):
        self.conn.close()

    def do_shut(self, rest):
        self.conn.sock.shutdown(socket.SHUT_WR)

    def session_lines(self):
        """The log's lines of the current connection's session."""
        log = self.log_from_start()
        port = self.conn.port if self.conn else 0
        starts = re.findall(rf"event=\w+-connect session=(\w+) .*\bport={port}\b", log)
        return [line for line in log.splitlines() if f"session={starts[-1]}" in line] \
            if starts else []

    def until(self, what, why):
        end = time.monotonic() + TIMEOUT
        while not what():
            if time.monotonic() > end:
                raise Wrong(why)
            time.sleep(0.005)

    def do_accepted(self, rest):
        self.until(lambda: any(re.search(r"event=\w+-(end|close) ", line)
                               for line in self.session_lines()), "the session does not end")
        accepted = [line for line in self.session_lines() if "event=smtp-accepted " in line]
        if len(accepted) != int(rest):
            raise Wrong(f"{len(accepted)} messages accepted, expected {rest}")

    def do_event(self, rest):
        wanted = pattern(rest, self.variables)
        self.until(lambda: any(wanted.search(line) for line in self.session_lines()),
                   f"no event {rest!r}")

    def do_noevent(self, rest):
        found = pattern(rest, self.variables).search("\n".join(self.session_lines()))
        if found:
            raise Wrong(f"event {found.group(0)!r}")

    def do_ctl(self, rest):
        done = self.appliance.run_ctl(*self.text(rest).split())
        self.output = done.stdout.decode() + done.stderr.decode()
        self.said.append(f"ctl {rest}: {self.output}")

    def log_from_start(self):
        with open(self.appliance.log, "rb") as whole:
            whole.seek(self.log_start)
            return whole.read().decode("utf-8", "replace")

    def do_delivered(self, rest):
        self.until(lambda: f"event=delivered qid={self.text(rest)} " in self.log_from_start(),
                   f"{rest} is not delivered")

    def do_settled(self, rest):
        self.until(lambda: self.appliance.run_ctl("queue", "show", self.text(rest)).returncode,
                   f"{rest} stays in the queue")

    def do_until(self, rest):
        self.again = rest

    def do_mail(self, rest):
        address = self.variables[rest.strip()].decode()
        taken = []
        self.until(lambda: taken.append(take_mail(self.appliance, address)) or taken[-1],
                   f"no mail for {address}")
        self.message = taken[-1]


def take_mail(appliance, address):
    """The oldest message of INBOX as lines, which is removed; None if there is none."""
    conn = Connection(appliance, "pop3s")

    def ask(line):
        conn.send(line.encode() + b"\r\n", [])
        answer = conn.line()
        if not answer.startswith("+OK"):
            raise Wrong(f"POP3 of {address}: {line}: {answer}")
        return answer

    try:
        conn.line()
        ask(f"USER {address}")
        if ask(f"PASS {PASSWORD}").split()[1] == "0":
            return None
        ask("RETR 1")
        lines = []
        while (line := conn.line()) != ".":
            lines.append(line[1:] if line.startswith(".") else line)
        ask("DELE 1")
        ask("QUIT")
        return lines
    finally:
        conn.close()


# --- appliances, one for each set of settings ---------------------------------------------------
running = {}
known_accounts = set()


def ensure_account(appliance, address):
    if (id(appliance), address) not in known_accounts:
        known_accounts.add((id(appliance), address))
        appliance.add_account(address)


def appliance_for(chat):
    key = repr((sorted(chat.settings.items()), sorted(
        (name, sorted(keys.items())) for name, keys in chat.listeners.items())))
    if key not in running:
        appliance = Appliance(settings=chat.settings, listeners=chat.listeners, accounts=())
        appliance.__enter__()
        running[key] = appliance
        appliance.ctl("domain", "add", "example.test")
    return running[key]


def stop_all():
    while running:
        _, appliance = running.popitem()
        appliance.__exit__(None, None, None)


atexit.register(stop_all)


def split_points(chat, chunks, case):
    """(number of the piece, place in it)"""
    for k, data in enumerate(chunks):
        if chat.splits == "case":
            at = data.find(case)
            places = range(max(at - 1, 1), min(at + len(case) + 2, len(data))) if at >= 0 else ()
        else:
            places = [i for i in range(1, len(data)) if chat.splits == "all"
                      or data[i] in SPLIT_BYTES or data[i - 1] in SPLIT_BYTES]
        for i in places:
            yield k, i


def run_case(chat, value, is_split):
    appliance = appliance_for(chat)
    start = os.path.getsize(appliance.log)
    first = Run(chat, appliance, value)
    first.run()
    if is_split:
        case = Text(value or "", first.variables).bytes
        for split in split_points(chat, first.chunks, case):
            Run(chat, appliance, value, split).run()
    with open(appliance.log, "rb") as whole:
        whole.seek(start)
        text = whole.read().decode("utf-8", "replace")
    if "Sanitizer" in text or "runtime error:" in text or "event=program-ended" in text:
        raise Wrong(f"{chat.path}: {text[-6000:]}")
