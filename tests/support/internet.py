"""A test internet on loopback: a name server that says what it is told to, and mail servers that
take, refuse, break off and lie as scripted."""
import base64
import socket
import socketserver
import ssl
import struct
import threading

A, CNAME, SOA, PTR, MX, TXT, AAAA, TLSA = 1, 5, 6, 12, 15, 16, 28, 52
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3


def wire_name(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + \
        b"\0"


class Dns(threading.Thread):
    """records: {(name, type): [data]}; data is an address, (preference, host), or bytes. A name in
    broken gets SERVFAIL, one in silent nothing; other names do not exist."""

    def __init__(self, records=None):
        super().__init__(daemon=True)
        self.records = dict(records or {})
        self.broken, self.silent = set(), set()
        self.asked = []
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1@{self.sock.getsockname()[1]}"
        self.start()

    def close(self):
        self.sock.close()

    def run(self):
        while True:
            try:
                query, peer = self.sock.recvfrom(4096)
            except OSError:
                return
            answer = self.answer(query)
            if answer:
                self.sock.sendto(answer, peer)

    def answer(self, query):
        name, at = [], 12
        while query[at]:
            name.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += query[at] + 1
        name, kind = ".".join(name), struct.unpack(">H", query[at + 1:at + 3])[0]
        question = query[12:at + 5]
        self.asked.append((name, kind))
        if name in self.silent:
            return None
        found = self.records.get((name, kind), [])
        if not found and (name, CNAME) in self.records:
            kind, found = CNAME, self.records[(name, CNAME)]
        exists = found or any(key[0] == name or key[0].endswith("." + name) for key in self.records)
        code = SERVFAIL if name in self.broken else NOERROR if exists else NXDOMAIN
        answers = b"".join(self.record(name, kind, data) for data in found)
        # What tests change is not remembered: RFC 2308 section 5.
        soa = b"" if found or kind != TXT else self.record(name.split(".")[-1], SOA, 0)
        head = query[:2] + struct.pack(">HHHHH", 0x8580 | code, 1, len(found), bool(soa), 0)
        return head + question + answers + soa

    @staticmethod
    def record(name, kind, data):
        if kind == A:
            data = socket.inet_aton(data)
        elif kind == AAAA:
            data = socket.inet_pton(socket.AF_INET6, data)
        elif kind == MX:
            data = struct.pack(">H", data[0]) + wire_name(data[1])
        elif kind in (PTR, CNAME):
            data = wire_name(data)
        elif kind == TXT:
            data = b"".join(bytes([len(data[i:i + 255])]) + data[i:i + 255]
                            for i in range(0, len(data), 255))
        elif kind == SOA:
            data = wire_name("ns.test") * 2 + struct.pack(">IIIII", 1, 60, 60, 60, data)
        ttl = 0 if kind in (TXT, SOA) else 60
        return wire_name(name) + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data

    def mail_domain(self, domain, *hosts):
        """hosts: addresses, best first; their names are mx1.DOMAIN, ..."""
        self.records[(domain, MX)] = [(10 * (i + 1), f"mx{i + 1}.{domain}")
                                      for i in range(len(hosts))]
        for i, address in enumerate(hosts):
            self.records[(f"mx{i + 1}.{domain}", A)] = [address]


class Listener:
    """Something that takes connections until it is closed; port 0: any, told in self.port."""

    def listen(self, address, port, handler):
        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address, daemon_threads, request_queue_size = True, True, 128

        self.server = Server((address, port), handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class PolicyHost(Listener):
    """An HTTPS server at an address of its own that gives one answer to every request: bytes, or
    what a function of the request line makes. asked: names that clients wanted (SNI, Host)."""

    def __init__(self, address, port, tls, answer):
        self.answer, self.asked, self.connections = answer, [], 0
        host = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                host.connections += 1
                try:
                    self.request.settimeout(30)
                    with tls.wrap_socket(self.request, server_side=True) as sock:
                        lines = sock.makefile("rb")
                        first = lines.readline().decode()
                        for line in lines:
                            if line.lower().startswith(b"host:"):
                                host.asked.append((first.split()[1], line[5:].strip().decode()))
                            if line == b"\r\n":
                                break
                        made = host.answer
                        sock.sendall(made(first) if callable(made) else made)
                except (OSError, ssl.SSLError):
                    pass

        self.listen(address, port, Handler)


def http(body, status="200 OK", kind="text/plain", length=True, more=""):
    """An answer of HTTP."""
    size = f"Content-Length: {len(body)}\r\n" if length else ""
    return (f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{size}{more}\r\n{body}").encode()


class Message:
    def __init__(self):
        self.sender, self.mail_options, self.recipients, self.data = None, "", [], b""
        self.rcpt_options, self.is_tls, self.helo, self.chunks = [], False, "", 0


class Sink(Listener):
    """An SMTP server on its own loopback address, at a port that all share. replies: command ->
    reply or list of replies, one a time; "RCPT bob@far.test" goes before "RCPT". A reply None closes
    the connection; one that is callable is called with the session."""

    def __init__(self, address, port, tls=None, replies=None, extensions=("PIPELINING", "8BITMIME",
                                                                          "SIZE 10000000")):
        self.address, self.tls = address, tls
        self.replies = dict(replies or {})
        self.extensions = list(extensions)
        self.messages, self.commands, self.sessions = [], [], 0
        self.users, self.is_tls_first = {}, False
        self.is_late = False  # it says only behind the content that it has no recipients
        self.lock = threading.Lock()
        sink = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                try:
                    Session(sink, self.request).run()
                except (OSError, ssl.SSLError):
                    pass

        self.listen(address, port, Handler)

    def reply_to(self, *keys):
        with self.lock:
            for key in keys:
                found = self.replies.get(key, False)
                if isinstance(found, list):
                    found = found.pop(0) if found else False
                if found is not False:
                    return found
        return False


class Session:
    def __init__(self, sink, sock):
        self.sink, self.sock, self.is_tls = sink, sock, False
        self.lines = sock.makefile("rb")
        self.message, self.helo, self.user = Message(), "", ""
        if sink.is_tls_first:
            self.sock = sink.tls.wrap_socket(sock, server_side=True)
            self.is_tls, self.lines = True, self.sock.makefile("rb")
        self.taken = 0  # bytes that were read
        self.sock.settimeout(60)

    def read_line(self):
        line = self.lines.readline()
        self.taken += len(line)
        return line

    def send(self, text):
        self.sock.sendall(text.encode() if isinstance(text, str) else text)

    def say(self, default, *keys):
        """True if the scripted reply is the good one."""
        reply = self.sink.reply_to(*keys)
        if reply is False:
            self.send(default + "\r\n")
            return default[0] in "23"
        if callable(reply):
            return reply(self)
        if reply is None:
            raise OSError("scripted end")
        self.send(reply + "\r\n")
        return reply[0] in "23"

    def run(self):
        with self.sink.lock:
            self.sink.sessions += 1
        self.say("220 sink.test ESMTP", "CONNECT")
        while True:
            line = self.read_line()
            if not line:
                return
            text = line.decode(errors="replace").rstrip("\r\n")
            with self.sink.lock:
                self.sink.commands.append(text)
            verb = text.split(" ", 1)[0].upper()
            if verb == "QUIT":
                self.say("221 bye", "QUIT")
                return
            getattr(self, "on_" + verb.lower(), self.on_unknown)(text)

    def on_unknown(self, text):
        self.send("500 what?\r\n")

    def on_ehlo(self, text):
        self.helo = text[5:]
        words = ["sink.test"] + self.sink.extensions
        if self.sink.tls and not self.is_tls:
            words.append("STARTTLS")
        self.say("\r\n".join(f"250{'-' if i < len(words) - 1 else ' '}{w}"
                             for i, w in enumerate(words)), "EHLO")

    def on_helo(self, text):
        self.helo = text[5:]
        self.say("250 sink.test", "HELO")

    def on_starttls(self, text):
        if self.say("220 go", "STARTTLS"):
            self.sock = self.sink.tls.wrap_socket(self.sock, server_side=True)
            self.lines = self.sock.makefile("rb")
            self.is_tls = True

    def on_auth(self, text):
        """AUTH PLAIN with its response, or LOGIN: what sink.users has."""
        words = text.split()
        if words[1] == "PLAIN":
            user, password = base64.b64decode(words[2]).decode().split("\0")[1:]
        else:
            self.send("334 VXNlcm5hbWU6\r\n")
            user = base64.b64decode(self.lines.readline()).decode()
            self.send("334 UGFzc3dvcmQ6\r\n")
            password = base64.b64decode(self.lines.readline()).decode()
        if self.sink.users.get(user) == password:
            self.user = user
            self.say("235 2.7.0 welcome", "AUTH")
        else:
            self.send("535 5.7.8 no\r\n")

    def on_mail(self, text):
        if self.sink.users and not self.user:
            self.send("530 5.7.0 log in first\r\n")
            return
        self.message = Message()
        path, _, self.message.mail_options = text[10:].partition(" ")
        sender = path.strip("<>")
        if self.say("250 ok", f"MAIL {sender}", "MAIL"):
            self.message.sender = sender

    def on_rcpt(self, text):
        if self.message.sender is None:
            self.send("503 5.5.1 MAIL first\r\n")
            return
        path, _, options = text[8:].partition(" ")
        address = path.strip("<>")
        if self.say("250 ok", f"RCPT {address}", "RCPT"):
            self.message.recipients.append(address)
            self.message.rcpt_options.append(options)

    def on_data(self, text):
        if not self.message.recipients and not self.sink.is_late:
            self.send("554 5.5.1 no valid recipients\r\n")
            return
        if not self.say("354 go", "DATA"):
            return
        data = b""
        while True:
            line = self.read_line()
            if not line:
                return
            if line == b".\r\n":
                break
            data += line[1:] if line.startswith(b".") else line
        if self.message.recipients:
            self.end(data)
        else:
            self.send("554 5.5.1 no valid recipients\r\n")

    def end(self, data):
        message = self.message
        message.data, message.is_tls, message.helo = data, self.is_tls, self.helo
        if self.say("250 2.0.0 taken", "END"):
            with self.sink.lock:
                self.sink.messages.append(message)
        self.message = Message()

    def on_bdat(self, text):
        words = text.split()
        self.message.data += self.lines.read(int(words[1]))
        self.message.chunks += 1
        if not self.message.recipients:
            self.send("503 5.5.1 no recipients\r\n")
        elif words[-1] != "LAST":
            self.say("250 2.0.0 go on", "CHUNK")
        else:
            self.end(self.message.data)

    def on_rset(self, text):
        self.message = Message()
        self.say("250 ok", "RSET")

    def on_noop(self, text):
        self.send("250 ok\r\n")
