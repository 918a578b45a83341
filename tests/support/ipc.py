"""The frames between mailstead's processes, for tests: a client that can also break the rules."""
import socket
import struct

ERROR, LOGIN, RESULT, RESOLVE, RESOLVED, SENDER, SENDER_RESULT = 1, 10, 11, 12, 13, 14, 15
SUBMIT, SUBMIT_RESULT = 16, 17
ADMIN, RECORD, END = 20, 21, 22
LINK_READY = 40
OK, FAILED, TEMP, THROTTLED, NOT_HERE = range(5)
LOCAL, REMOTE, UNKNOWN, OVER_QUOTA, RESOLVE_TEMP = range(5)


def text(value):
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(">I", len(data)) + data


def frame(kind, number, body):
    return struct.pack(">IHHI", len(body), kind, 0, number) + body


class Reader:
    """Takes values off a body; running out is an error of the test."""

    def __init__(self, body):
        self.body = body
        self.at = 0

    def take(self, n):
        assert self.at + n <= len(self.body), "body too short"
        self.at += n
        return self.body[self.at - n:self.at]

    def number(self, fmt):
        return struct.unpack(">" + fmt, self.take(struct.calcsize(">" + fmt)))[0]

    def text(self):
        return self.take(self.number("I")).decode()

    def is_done(self):
        return self.at == len(self.body)


class Refused(Exception):
    def __init__(self, code, why):
        super().__init__(f"{code}: {why}")
        self.code = code
        self.why = why


class Client:
    def __init__(self, path, timeout=20):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.next = 1

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.close()

    def send(self, kind, body):
        number = self.next
        self.next += 1
        self.sock.sendall(frame(kind, number, body))
        return number

    def read(self, n):
        data = b""
        while len(data) < n:
            piece = self.sock.recv(n - len(data))
            if not piece:
                raise ConnectionError("closed")
            data += piece
        return data

    def receive(self):
        """(type, id, body)"""
        size, kind, zero, number = struct.unpack(">IHHI", self.read(12))
        assert zero == 0
        return kind, number, self.read(size)

    def ask(self, kind, body):
        number = self.send(kind, body)
        got, answered, answer = self.receive()
        assert answered == number
        if got == ERROR:
            reader = Reader(answer)
            raise Refused(reader.number("H"), reader.text())
        return got, Reader(answer)

    # --- auth.sock ---------------------------------------------------------------------------
    @staticmethod
    def login_body(user, password, client="192.0.2.1", protocol="imap", listener="test"):
        return b"".join(text(v) for v in (protocol, listener, client, user, password))

    @staticmethod
    def login_result(reader):
        result = {"status": reader.number("B"), "account": reader.number("Q"),
                  "address": reader.text(), "quota": reader.number("Q"),
                  "quota_messages": reader.number("Q"), "sessions": reader.number("Q"),
                  "text": reader.text()}
        assert reader.is_done()
        return result

    def login(self, user, password, **more):
        kind, reader = self.ask(LOGIN, self.login_body(user, password, **more))
        assert kind == RESULT
        return self.login_result(reader)

    def resolve(self, address):
        """(status, [(account number, main address, detail)])"""
        kind, reader = self.ask(RESOLVE, text(address))
        assert kind == RESOLVED
        status, count = reader.number("B"), reader.number("I")
        targets = []
        for _ in range(count):
            number, _, _ = reader.number("Q"), reader.number("Q"), reader.number("Q")
            main = reader.text()
            targets.append((number, main, reader.text()))
        assert reader.is_done()
        return status, targets

    def may_send(self, account, address):
        kind, reader = self.ask(SENDER, struct.pack(">Q", account) + text(address))
        assert kind == SENDER_RESULT
        return bool(reader.number("B"))

    def submit(self, account, step, address=""):
        """(status, text): may the account send this?"""
        kind, reader = self.ask(SUBMIT, struct.pack(">QB", account, step) + text(address))
        assert kind == SUBMIT_RESULT
        return reader.number("B"), reader.text()

    # --- admin.sock, web.sock, *.ctl ---------------------------------------------------------
    @staticmethod
    def admin_body(words, secret="", token="", client="", content=b""):
        return (text(token) + text(client) + text(secret) + struct.pack(">I", len(words)) +
                b"".join(text(w) for w in words) + text(content))

    @staticmethod
    def record(body):
        reader, row = Reader(body), {}
        while not reader.is_done():
            name, kind = reader.text(), reader.number("B")
            row[name] = reader.text() if kind == 0 else reader.number("Q")
        return row

    def admin(self, *words, secret="", token="", client="", content=b""):
        """(records, closing text); Refused when the command failed."""
        number = self.send(ADMIN, self.admin_body(words, secret, token, client, content))
        rows = []
        while True:
            kind, answered, body = self.receive()
            assert answered == number
            if kind == RECORD:
                rows.append(self.record(body))
                continue
            reader = Reader(body)
            code, why = reader.number("H"), reader.text()
            assert kind in (END, ERROR)
            if code or kind == ERROR:
                raise Refused(code, why)
            return rows, why
