"""Clients that count every byte a server sent, so that an answer has its place in a trace."""
import hashlib
import os
import re
import socket

from ipc import Client as IpcClient


class Gone(Exception):
    """The server went away before it answered."""


class Refused(Exception):
    pass


class Wire:
    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.key = ("tcp", self.sock.getsockname()[1])
        self.taken = 0
        self.buffer = b""

    def mark(self):
        return self.key, self.taken

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Gone(str(error)) from error

    def more(self):
        try:
            data = self.sock.recv(65536)
        except OSError as error:
            raise Gone(str(error)) from error
        if not data:
            raise Gone("closed")
        self.buffer += data

    def line(self):
        while b"\r\n" not in self.buffer:
            self.more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        self.taken += len(line) + 2
        return line

    def take(self, count):
        while len(self.buffer) < count:
            self.more()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        self.taken += count
        return data

    def close(self):
        self.sock.close()


class Smtp(Wire):
    def __init__(self, port, login=None):
        super().__init__(port)
        self.reply()
        self.command(b"EHLO client.example")
        if login:
            import base64
            user, password = login
            self.command(b"AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()))

    def reply(self):
        while True:
            line = self.line()
            if line[3:4] != b"-":
                return line

    def command(self, line, want=b"2"):
        self.send(line + b"\r\n")
        answer = self.reply()
        if not answer.startswith(want):
            raise Refused(answer)
        return answer

    def message(self, sender, recipients, content, told=()):
        """Marks of before the content and of the reply to it. told: of whose delivery the sender
        wants to hear."""
        self.command(b"MAIL FROM:<%s>" % sender.encode())
        for recipient in recipients:
            self.command(b"RCPT TO:<%s>" % recipient.encode() +
                         (b" NOTIFY=SUCCESS" if recipient in told else b""))
        self.command(b"DATA", b"3")
        begun = self.mark()
        self.send(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        return begun, lambda: self.finish(begun)

    def finish(self, begun):
        answer = self.reply()
        if not answer.startswith(b"2"):
            raise Refused(answer)
        return self.mark()


class Imap(Wire):
    tags = 0

    def __init__(self, port, user, password):
        super().__init__(port)
        self.line()
        self.command(f'LOGIN "{user}" "{password}"')

    def answer(self, tag):
        """(rest of the tagged line, untagged lines)"""
        untagged = []
        while True:
            line = self.line()
            literal = re.search(rb"\{(\d+)\}$", line)
            while literal:
                line += b"\r\n" + self.take(int(literal[1]))
                rest = self.line()
                line += rest
                literal = re.search(rb"\{(\d+)\}$", rest)
            if line.startswith(tag + b" "):
                return line[len(tag) + 1:], untagged
            untagged.append(line)

    def start(self, text):
        Imap.tags += 1
        tag = b"c%d" % Imap.tags
        begun = self.mark()
        self.send(tag + b" " + (text if isinstance(text, bytes) else text.encode()) + b"\r\n")
        return begun, tag

    def command(self, text):
        """(begun, acked, text, untagged); Refused for NO and BAD."""
        begun, tag = self.start(text)
        text, untagged = self.answer(tag)
        if not text.startswith(b"OK"):
            raise Refused(text)
        return begun, self.mark(), text, untagged


class Pop3(Wire):
    def __init__(self, port, user, password):
        super().__init__(port)
        self.line()
        self.command(f"USER {user}")
        self.command(f"PASS {password}")

    def command(self, text):
        begun = self.mark()
        self.send(text.encode() + b"\r\n")
        answer = self.line()
        if not answer.startswith(b"+OK"):
            raise Refused(answer)
        return begun, self.mark(), answer

    def lines(self):
        found = []
        while (line := self.line()) != b".":
            found.append(line[1:] if line.startswith(b".") else line)
        return found


class Admin(IpcClient):
    """authd's admin.sock."""

    def __init__(self, path):
        super().__init__(path, timeout=60)
        self.key = ("unix", os.fstat(self.sock.fileno()).st_ino)
        self.taken = 0

    def read(self, n):
        data = super().read(n)
        self.taken += n
        return data

    def mark(self):
        return self.key, self.taken

    def verb(self, *words, secret=""):
        begun = self.mark()
        self.admin(*words, secret=secret)
        return begun, self.mark()


def letter(token, size=0, random=None, sender="a@far.example"):
    """A message that carries its token; size bytes of text that does not compress."""
    body = b"text\r\n.dots\r\n"
    if size:
        data = random.randbytes(size * 3 // 4)
        import base64
        body += base64.encodebytes(data).replace(b"\n", b"\r\n")
    head = (b"X-Token: %s\r\nSubject: %s\r\nFrom: %s\r\n"
            b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <%s@far.example>\r\n\r\n"
            % (token.encode(), token.encode(), sender.encode(), token.encode()))
    return head + body


def sum_of(message):
    return hashlib.sha256(message[message.index(b"X-Token: "):]).hexdigest()
