"""Sessions rather than mailboxes, here and in Debian's Dovecot (maildir and sdbox), the third part
of `make bench-imap`: logins, TLS handshakes, coming back with QRESYNC, POP3, and what connections
cost that do nothing. Rates are told as the time of 1,000; of what is repeated the best of three
counts. Both have the same ECDSA certificate's kind and no login is looked up in a database by
Dovecot (its password is static), where ours is known from the login before (auth.cache_seconds).
"""
import argparse
import contextlib
import os
import resource
import socket
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))

from appliance import PASSWORD, Appliance, free_ports, tls_context  # noqa: E402
from bench_imap import timed  # noqa: E402
from bench_imap_write import BODY  # noqa: E402
from bench_memory import pss, tree  # noqa: E402
from dovecot import PEER_PASSWORD, PEER_USER, Dovecot  # noqa: E402
from imap import Imap  # noqa: E402

CONTEXT = tls_context()  # each session of it begins with a full handshake
MORE = """
protocols = imap pop3
ssl = yes
ssl_cert = <{pem}
ssl_key = <{key}
mail_max_userip_connections = 10000
service imap-login {{
  service_count = 0
  client_limit = 6000
  process_min_avail = 2
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service imap {{
  process_limit = 6000
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
"""


class Peer:
    """One of the servers: connect(name), where name is imap, imaps or pop3."""

    def __init__(self, name, ports, login, pids):
        self.name = name
        self.ports = ports
        self.login = login
        self.pids = pids

    def connect(self, name):
        sock = socket.create_connection(("127.0.0.1", self.ports[name]), timeout=120)
        return CONTEXT.wrap_socket(sock) if name == "imaps" else sock

    def imap(self, name="imap"):
        client = Imap(self.connect(name))
        client.login(*self.login)
        return client

    def memory(self):
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += pss(pid)
        return total


def in_threads(count, seconds, once):
    """Milliseconds for 1,000 of what once() does, by so many clients for so long."""
    done, end = [0] * count, time.monotonic() + seconds

    def work(i):
        while time.monotonic() < end:
            once()
            done[i] += 1

    began = time.monotonic()
    workers = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return (time.monotonic() - began) * 1e6 / sum(done)


def fill(client, count, message):
    for first in range(0, count, 100):
        n = min(100, count - first)
        client.send(b"f APPEND INBOX" + b"".join(
            b" {%d+}\r\n" % len(m) + m for m in (message % (first, i) for i in range(n))) + b"\r\n")
        while not client.read_line().startswith(b"f OK"):
            pass


def qresync(peer):
    client = peer.imap()
    client.ok("ENABLE QRESYNC")
    answer = client.ok("SELECT INBOX")
    state = {}
    for line in answer.untagged:
        for word in (b"UIDVALIDITY", b"HIGHESTMODSEQ"):
            if line.startswith(b"OK [" + word):
                state[word] = int(line.split(b" ")[2].rstrip(b"]"))
    client.ok("STORE 1:100 +FLAGS.SILENT (\\Flagged)")
    client.ok("STORE 1:100 -FLAGS.SILENT (\\Flagged)")
    best = 1e9
    for _ in range(3):
        client.ok("UNSELECT")
        took, _ = timed(client, "SELECT INBOX (QRESYNC (%d %d))" %
                        (state[b"UIDVALIDITY"], state[b"HIGHESTMODSEQ"]))
        best = min(best, took * 1000)
    client.close()
    return best


class Pop3:
    def __init__(self, peer):
        self.sock = peer.connect("pop3")
        self.file = self.sock.makefile("rb", 1 << 20)
        self.file.readline()
        for line in (f"USER {peer.login[0]}", f"PASS {peer.login[1]}"):
            self.one(line.encode())

    def one(self, command):
        self.sock.sendall(command + b"\r\n")
        line = self.file.readline()
        assert line.startswith(b"+OK"), line

    def many(self, command):
        self.one(command)
        while self.file.readline() != b".\r\n":
            pass

    def close(self):
        with contextlib.suppress(OSError):
            self.one(b"QUIT")
        self.file.close()
        self.sock.close()


def pop3(peer, letters):
    """(ms of UIDL, ms of 1,000 RETR one behind the other)"""
    client = Pop3(peer)
    uidl = retr = 1e9
    for _ in range(3):
        began = time.monotonic()
        client.many(b"UIDL")
        uidl = min(uidl, (time.monotonic() - began) * 1000)
        began = time.monotonic()
        for n in range(1, letters + 1):
            client.many(b"RETR %d" % n)
        retr = min(retr, (time.monotonic() - began) * 1e6 / letters)
    client.close()
    return uidl, retr


def idle(peer, name, count):
    """KB of memory that a session costs: logged in, a mailbox selected, in IDLE."""
    before = peer.memory()
    clients = []
    try:
        for _ in range(count):
            client = peer.imap(name)
            clients.append(client)
            client.ok("SELECT INBOX")
            client.send(b"i IDLE\r\n")
            assert client.read_line().startswith(b"+")
        time.sleep(1)
        return (peer.memory() - before) / count
    finally:
        for client in clients:
            client.close()
        time.sleep(1)


def handshake(peer):
    def once():
        peer.connect("imaps").close()
    return once


def login(peer, name):
    def once():
        peer.imap(name).close()
    return once


def measure(peer, opt, counts):
    found = {}
    client = peer.imap()
    fill(client, opt.messages, BODY)
    client.close()
    found["SELECT QRESYNC, 100 changed"] = qresync(peer)
    found["POP3 UIDL"], found["POP3 RETR of 10 KB, 1,000"] = pop3(peer, min(2000, opt.messages))
    found["TLS handshakes, 4 clients, 1,000"] = in_threads(4, opt.seconds, handshake(peer))
    found["LOGIN, 4 clients, 1,000"] = in_threads(4, opt.seconds, login(peer, "imap"))
    found["LOGIN over TLS, 4 clients, 1,000"] = in_threads(4, opt.seconds, login(peer, "imaps"))
    print(f"{peer.name}: {found}", file=sys.stderr, flush=True)
    found["MB at rest"] = peer.memory() / 1024
    for count in counts:
        for name in ("imap", "imaps"):
            kind = "TLS" if name == "imaps" else "plain"
            more = "" if count == counts[0] else f", {count:,}"
            found[f"KB a session in IDLE, {kind}{more}"] = idle(peer, name, count)
    return found


def certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=mail.example.test", "-keyout", f"{folder}/key.pem", "-out",
                    f"{folder}/cert.pem"], check=True, capture_output=True)
    return f"{folder}/cert.pem", f"{folder}/key.pem"


def ours(opt):
    settings = {"store.map_size": "8G", "limits.connections": "20000",
                "limits.connections_per_address": "20000",
                "limits.connections_per_network": "20000"}
    clear = {"login_without_tls": "yes"}
    with Appliance(settings=settings, accounts=("alice",),
                   listeners={"imap": clear, "pop3": clear}) as a:
        programs = ("imapd-worker", "pop3d-worker", "imapd", "pop3d", "authd")
        peer = Peer("mailstead", a.ports, ("alice@example.test", PASSWORD),
                    lambda: [pid for name, pid in a.pids().items() if name in programs])
        return measure(peer, opt, opt.sessions)


def theirs(opt, location):
    imaps, pop = free_ports(2)
    folder = subprocess.run(["mktemp", "-d"], check=True, capture_output=True,
                            text=True).stdout.strip()
    pem, key = certificate(folder)
    with Dovecot(location=location, more=MORE.format(pem=pem, key=key, imaps=imaps,
                                                     pop3=pop)) as dovecot:
        ports = {"imap": dovecot.port, "imaps": imaps, "pop3": pop}
        peer = Peer(location, ports, (PEER_USER, PEER_PASSWORD),
                    lambda: tree(dovecot.process.pid))
        # A process a session: 5,000 of them do not fit everywhere.
        return measure(peer, opt, (opt.peer_sessions,))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=20000)
    parser.add_argument("--seconds", type=float, default=3, help="of each rate")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--peer-sessions", type=int, default=1000)
    parser.add_argument("--no-peer", action="store_true")
    opt, _ = parser.parse_known_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    here = ours(opt)
    there = [] if opt.no_peer else [theirs(opt, location)
                                    for location in ("maildir:~/mail", "sdbox:~/mail")]
    print(f"{'ms':36}{'ours':>10}{'maildir':>10}{'sdbox':>10}{'ratio':>8}")
    for name, value in here.items():
        peers = [found[name] for found in there if name in found]
        print(f"{name:36}{value:10.1f}" + "".join(f"{one:10.1f}" for one in peers) +
              (f"{min(peers) / value:8.1f}" if peers else ""), flush=True)


if __name__ == "__main__":
    main()
