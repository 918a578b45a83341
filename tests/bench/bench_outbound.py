"""Mail out, measured against Debian's Postfix: messages that wait are let go, and the time until a
server that keeps nothing has them all. Both durable, in one run on one machine: ratios are what
counts. Needs root.

    make bench-outbound [BENCH="--messages 4000 --queued 20000"]
"""
import argparse
import json
import os
import smtplib
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from appliance import BUILD, PASSWORD, Appliance, free_ports, tls_context  # noqa: E402
from internet import Dns  # noqa: E402
from postfix import Peer  # noqa: E402

# With From: ours are signed, as all mail is.
BODY = "From: alice@example.test\r\nSubject: bench\r\n\r\n" + ("x" * 70 + "\r\n") * 13  # 1 KB


class Sink:
    def __init__(self, port, tls):
        self.folder = tempfile.mkdtemp(prefix="sink-")
        self.counter = f"{self.folder}/count"
        with open(self.counter, "wb") as count:
            count.write(bytes(8))
        words = []
        if tls:
            words = [f"{self.folder}/cert.pem", f"{self.folder}/key.pem"]
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                            "ec_paramgen_curve:P-256", "-nodes", "-days", "9", "-subj", "/CN=sink",
                            "-keyout", words[1], "-out", words[0]], check=True,
                           stderr=subprocess.DEVNULL)
        self.process = subprocess.Popen([f"{BUILD}/bench/smtp_sink", str(port), self.counter,
                                         *words])
        until = time.monotonic() + 20
        while not self.listens(port):
            assert self.process.poll() is None and time.monotonic() < until, "no sink"
            time.sleep(0.01)

    @staticmethod
    def listens(port):
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.3.1", port)) == 0

    def count(self):
        with open(self.counter, "rb") as count:
            return struct.unpack("=Q", count.read(8))[0]

    def close(self):
        self.process.kill()
        self.process.wait()


def feed(connect, total, domains, sender):
    """total messages to so many domains, over eight connections."""
    def one(part):
        client = connect()
        for i in range(part, total, 8):
            client.sendmail(sender, [f"r{i}@d{i % domains}.test"], BODY)
        client.quit()
    threads = [threading.Thread(target=one, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Ours:
    name = "mailstead"

    def __init__(self, port):
        self.dns = Dns()
        for i in range(100):
            self.dns.mail_domain(f"d{i}.test", f"127.0.3.{i + 1}")
        self.box = Appliance(accounts=("alice",), settings={
            "dns.server": self.dns.address, "dns.trust_anchor": "none",
            "outbound.port": str(port), "queue.map_size": "4G"})

    def __enter__(self):
        self.box.__enter__()
        return self

    def __exit__(self, *why):
        self.box.__exit__(*why)
        self.dns.close()

    def fill(self, total, domains):
        def connect():
            client = smtplib.SMTP_SSL("127.0.0.1", self.box.ports["submissions"],
                                      context=tls_context())
            client.login("alice@example.test", PASSWORD)
            return client
        self.box.ctl("queue", "pause")
        feed(connect, total, domains, "alice@example.test")

    def release(self):
        self.box.ctl("queue", "resume")

    def pids(self):
        return [pid for name, pid in self.box.pids().items()
                if name in ("smtpd", "smtpd-send", "smtpd-local", "smtpd-receive")]


class Theirs:
    name = "postfix"

    def __init__(self, port):
        self.port = port

    def __enter__(self):
        table = "".join(f"d{i}.test smtp:[127.0.3.{i + 1}]:{self.port}\n" for i in range(100))
        self.peer = Peer(
            main="transport_maps = texthash:$config_directory/transport\n"
                 "smtp_tls_security_level = may\nsmtp_destination_concurrency_limit = 10\n"
                 "smtp_destination_recipient_limit = 50\ndisable_dns_lookups = yes\n"
                 "smtpd_sender_restrictions = static:hold\nqmgr_message_active_limit = 40000\n",
            master="smtp unix - - n - - smtp\nflush unix n - n 1000? 0 flush\n",
            files={"transport": table}).__enter__()
        return self

    def __exit__(self, *why):
        self.peer.__exit__(*why)

    def fill(self, total, domains):
        feed(lambda: smtplib.SMTP("127.0.0.1", self.peer.ports["smtp"]), total, domains,
             "alice@example.test")

    def release(self):
        etc = f"{self.peer.folder}/etc"
        subprocess.run(["postsuper", "-c", etc, "-H", "ALL"], check=True,
                       stderr=subprocess.DEVNULL)
        self.started = time.monotonic()
        subprocess.run(["postqueue", "-c", etc, "-f"], check=True)

    def pids(self):
        with open(f"{self.peer.folder}/spool/pid/master.pid", encoding="ascii") as pid:
            found = [int(pid.read())]
        for parent in found:
            with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as children:
                found += [int(p) for p in children.read().split()]
        return found


def pss(server):
    total = 0
    for pid in server.pids():
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
                total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / 1024


def rate(server, sink, total, domains):
    server.fill(total, domains)
    goal = sink.count() + total
    server.started = time.monotonic()
    server.release()
    while sink.count() < goal:
        time.sleep(0.002)
        assert time.monotonic() - server.started < 300, (server.name, sink.count(), goal)
    return total / (time.monotonic() - server.started)


def row(label, ours, theirs, unit, is_less_better=False):
    ratio = (theirs / ours if is_less_better else ours / theirs) if ours and theirs else 0
    print(f"{label:40} {ours:10.1f} {theirs:10.1f} {unit:12} {ratio:6.1f} x", flush=True)
    RESULTS.append({"what": label, "mailstead": ours, "peer": theirs, "unit": unit, "ratio": ratio})


RESULTS = []


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queued", type=int, default=10000)
    options = parser.parse_args()
    print(f"{'':40} {'mailstead':>10} {'postfix':>10}")
    for tls in (False, True):
        port = free_ports(1)[0]
        sink = Sink(port, tls)
        with Ours(port) as ours, Theirs(port) as theirs:
            for domains in (1, 100):
                rates = {ours: [], theirs: []}
                for _ in range(options.rounds):
                    for server in (ours, theirs):
                        rates[server].append(rate(server, sink, options.messages, domains))
                row(f"1 KB to {domains} destinations, {'TLS' if tls else 'clear'}",
                    statistics.median(rates[ours]), statistics.median(rates[theirs]), "messages/s")
            if not tls and options.queued:
                before = pss(ours), pss(theirs)
                for server in (ours, theirs):
                    server.fill(options.queued, 100)
                row(f"memory before {options.queued} wait", *before, "MB", True)
                row(f"memory with {options.queued} waiting", pss(ours), pss(theirs), "MB", True)
        sink.close()
    print(json.dumps(RESULTS))


if __name__ == "__main__":
    main()
