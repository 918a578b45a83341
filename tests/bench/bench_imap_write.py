"""What changes a large mailbox, lists of many mailboxes, and APPEND from many sessions: here and in
Debian's Dovecot, the second half of `make bench-imap`. Of what can be repeated the best of three
counts. Rates are told as the time of 1,000 messages.
"""
import argparse
import os
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))

from appliance import PASSWORD, Appliance  # noqa: E402
from dovecot import PEER_PASSWORD, PEER_USER, Dovecot  # noqa: E402
from imap import Imap  # noqa: E402

FOLDERS = 1000
BODY = (b"From: a@example.test\r\nTo: b@example.test\r\nSubject: bench\r\n"
        b"Message-ID: <%d.%d@example.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
        + b"".join(b"line %d of a message with some text in it, as people write\r\n" % n
                   for n in range(165)))


def timed(client, command):
    """Seconds until the tagged answer; nothing is looked at but that."""
    client.number += 1
    tag = f"w{client.number} ".encode()
    began = time.monotonic()
    client.send(tag + command.encode() + b"\r\n")
    tail = b""
    while True:
        data = client.sock.recv(1 << 20)
        if not data:
            raise EOFError
        tail = (tail + data)[-2_000_000:]
        at = tail.rfind(b"\r\n", 0, len(tail) - 2)
        last = tail[at + 2:] if at >= 0 else tail
        if tail.endswith(b"\r\n") and last.startswith(tag):
            assert last.startswith(tag + b"OK"), last[:200]
            return time.monotonic() - began


def fill(client, mailbox, count):
    """Small messages, many to a command."""
    message = b"Subject: x\r\n\r\nx\r\n"
    one = b" {%d+}\r\n" % len(message) + message
    while count:
        n = min(count, 500)
        client.send(b"f APPEND " + mailbox.encode() + one * n + b"\r\n")
        line = client.read_line()
        while not line.startswith(b"f "):
            line = client.read_line()
        assert line.startswith(b"f OK"), line
        count -= n


def best(client, *commands):
    """The best of three rounds through commands that undo each other: for the first of them."""
    found = []
    for _ in range(3):
        found.append(timed(client, commands[0]))
        for command in commands[1:]:
            timed(client, command)
    return min(found)


def change(client, mailbox):
    """{name: seconds} of changes to a full mailbox; empties it."""
    result = {}
    client.ok(f"SELECT {mailbox}")
    result["STORE +FLAGS.SILENT of all"] = best(
        client, "STORE 1:* +FLAGS.SILENT (\\Flagged)", "STORE 1:* -FLAGS.SILENT (\\Flagged)")
    result["STORE +FLAGS of all"] = best(
        client, "STORE 1:* +FLAGS (\\Flagged)", "STORE 1:* -FLAGS.SILENT (\\Flagged)")
    client.ok("CREATE copied")
    client.ok("CREATE moved")
    result["COPY of all"] = timed(client, "COPY 1:* copied")
    result["MOVE of all"] = timed(client, "MOVE 1:* moved")
    client.ok("SELECT moved")
    timed(client, "STORE 1:* +FLAGS.SILENT (\\Deleted)")
    result["EXPUNGE of all"] = timed(client, "EXPUNGE")
    return result


def folders(client):
    """{name: seconds} of lists of many mailboxes."""
    names = [f"f{n // 100}/{n:04}" for n in range(FOLDERS)]
    began = time.monotonic()
    tags = [client.start(f"CREATE many/{name}") for name in names]
    for tag in tags:
        client.finish(tag)
    result = {f"CREATE of {FOLDERS}": time.monotonic() - began}
    for name in names[::10]:
        client.append(f"many/{name}", b"Subject: x\r\n\r\nx\r\n")
    result["LIST"] = best(client, 'LIST "" "many/*"')
    result["LIST RETURN (STATUS)"] = best(
        client, 'LIST "" "many/*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN))')
    status = "".join(f"s{n} STATUS many/{name} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)\r\n"
                     for n, name in enumerate(names))
    began = time.monotonic()
    client.send(status.encode())
    while not client.read_line().startswith(b"s%d OK" % (FOLDERS - 1)):
        pass
    result[f"STATUS of {FOLDERS}"] = time.monotonic() - began
    return result


def append_rate(connect, sessions, seconds=5):
    """Messages of 10 KB a second that many sessions get acknowledged."""
    counts = [0] * sessions
    stop = time.monotonic() + seconds + 0.5
    clients = [connect() for _ in range(sessions)]
    start = threading.Barrier(sessions + 1)

    def work(i):
        client = clients[i]
        start.wait()
        while time.monotonic() < stop:
            body = BODY % (i, counts[i])
            client.send(b"x APPEND INBOX {%d+}\r\n" % len(body) + body + b"\r\n")
            line = client.read_line()
            while not line.startswith(b"x "):
                line = client.read_line()
            assert line.startswith(b"x OK"), line
            counts[i] += 1

    threads = [threading.Thread(target=work, args=(i,)) for i in range(sessions)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.monotonic()
    stop = began + seconds
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    for client in clients:
        client.close()
    return sum(counts) / took


def measure(connect, count):
    """{name: seconds} of everything; for APPEND the seconds of 1,000 messages."""
    client = connect()
    client.ok("CREATE bench")
    fill(client, "bench", count)
    result = change(client, "bench")
    client.ok("CLOSE")
    result.update(folders(client))
    client.close()
    for sessions in (1, 10, 50):
        rate = append_rate(connect, sessions)
        result[f"APPEND of 1,000, {sessions} session{'s' if sessions > 1 else ''}"] = 1000 / rate
    return result


def report(ours, peer=None, goal=2):
    """Prints both and the ratio; the names of what missed the goal."""
    missed = []
    for name, a in ours.items():
        if peer is None:
            print(f"{name:32}{a * 1000:8.1f}ms", flush=True)
            continue
        b = peer[name]
        print(f"{name:32}{a * 1000:8.1f}ms{b * 1000:8.1f}ms{b / a:8.2f}{goal:6}", flush=True)
        if b / a < goal:
            missed.append(name)
    if missed:
        print("below the goal:", ", ".join(missed))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=100000)
    parser.add_argument("--location", default="maildir:~/mail")
    parser.add_argument("--no-peer", action="store_true")
    opt, _ = parser.parse_known_args()

    with Appliance(settings={"store.map_size": "8G"}, accounts=("alice",),
                   listeners={"imap": {"login_without_tls": "yes"}}) as appliance:
        def connect():
            client = Imap(appliance.connect("imap", timeout=600))
            client.login("alice@example.test", PASSWORD)
            return client
        ours = measure(connect, opt.messages)
    if opt.no_peer:
        report(ours)
        return
    with Dovecot(location=opt.location, more="mail_max_userip_connections = 1000") as dovecot:
        def connect_peer():
            client = Imap(dovecot.connect())
            client.sock.settimeout(600)
            client.login(PEER_USER, PEER_PASSWORD)
            return client
        peer = measure(connect_peer, opt.messages)
    print(f"{'':32}{'ours':>10}{'Dovecot':>10}{'ratio':>8}{'goal':>6}")
    report(ours, peer)


if __name__ == "__main__":
    main()
