"""A large mailbox here and in Debian's Dovecot, in one run on one machine: times and ratios.

    make bench-imap                         100,000 messages, maildir
    make bench-imap BENCH="--messages 20000 --location sdbox:~/mail"

Both get the same messages and the same commands over a socket on loopback. Of each measurement
that can be repeated the best of three counts. The CPU time is that of the server process. The ratio is Dovecot's time by ours: above 1 we are
the faster. "first" is what a command takes when nothing was cached yet: in Dovecot nothing of the
mailbox has been read then, here the messages have come in by APPEND, which makes the cache rows.
A sdbox is filled by APPEND too, a maildir with files.
"""
import argparse
import os
import random
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))

from appliance import PASSWORD, Appliance  # noqa: E402
from dovecot import PEER_PASSWORD, PEER_USER, Dovecot  # noqa: E402
from imap import Imap  # noqa: E402

WORDS = ("time year people way day man thing woman life child world school state family student "
         "group country problem hand part place case week company system program question work "
         "government number night point home water room mother area money story fact month lot "
         "right study book eye job word business issue side kind head house service friend father "
         "power hour game line end member law car city community name president team minute idea "
         "kid body information back parent face others level office door health person art war "
         "history party result change morning reason research girl guy moment air teacher force "
         "education").split()
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def make_message(rng, n, ids):
    """A message like those of a mailing list: a third are replies, a quarter have HTML too."""
    reply = rng.randrange(max(0, n - 500), n) if n and rng.random() < 0.4 else None
    subject = " ".join(rng.choices(WORDS, k=rng.randint(2, 7)))
    references = ""
    if reply is not None:
        parent_id, parent_subject, parent_references = ids[reply]
        subject = parent_subject if parent_subject.startswith("Re: ") else f"Re: {parent_subject}"
        references = (parent_references + " " + parent_id).strip()[-900:]
        references = references[references.index("<"):]
    elif rng.random() < 0.1:
        subject = f"=?utf-8?q?{subject.replace(' ', '_')}_=C3=A4=C3=B6=C3=BC?="
    message_id = f"<{n}.{rng.getrandbits(48):x}@example.test>"
    ids.append((message_id, subject, references))
    sender = rng.randrange(2000)
    when = 1600000000 + n * 600 + rng.randrange(-4000, 4000)
    t = time.gmtime(when)
    date = (f"{DAYS[t.tm_wday]}, {t.tm_mday} {MONTHS[t.tm_mon - 1]} {t.tm_year} "
            f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} +0000")
    head = [
        "Return-Path: <bounces@lists.example.test>",
        f"Received: from relay{n % 7}.example.test (relay{n % 7}.example.test [192.0.2.{n % 250}])",
        f"\tby mail.example.test with ESMTPS id {rng.getrandbits(60):x}",
        f"\tfor <alice@example.test>; {date}",
        "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.test; s=mail;",
        f"\th=from:to:subject:date; bh={rng.getrandbits(256):x};",
        f"\tb={rng.getrandbits(1024):x}",
        f"From: {WORDS[sender % 97].title()} {WORDS[sender % 89].title()} <user{sender}@example.test>",
        "To: list@lists.example.test",
        f"Cc: user{rng.randrange(2000)}@example.test",
        f"Subject: {subject}",
        f"Date: {date}",
        f"Message-ID: {message_id}",
    ]
    if references:
        head += [f"In-Reply-To: {references.split()[-1]}", f"References: {references}"]
    text = "\r\n".join(" ".join(rng.choices(WORDS, k=12)) for _ in range(rng.randint(5, 40)))
    head.append("MIME-Version: 1.0")
    if rng.random() < 0.25:
        head.append('Content-Type: multipart/alternative; boundary="=_b"')
        body = (f"--=_b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
                f"--=_b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
                f"<html><body><p>{text}</p></body></html>\r\n--=_b--\r\n")
    else:
        head.append("Content-Type: text/plain; charset=utf-8")
        body = text + "\r\n"
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode(), when


def messages(count):
    rng = random.Random(4711)
    ids = []
    for n in range(count):
        yield make_message(rng, n, ids)


def fill(client, count):
    """By MULTIAPPEND in pieces."""
    began = time.monotonic()
    batch = []

    def flush():
        out = [b"m APPEND INBOX"]
        for message, when in batch:
            t = time.gmtime(when)
            out.append((f' ("{t.tm_mday:2}-{MONTHS[t.tm_mon - 1]}-{t.tm_year} {t.tm_hour:02}:'
                        f'{t.tm_min:02}:{t.tm_sec:02} +0000"').replace("(", "").encode()
                       + b" {%d+}\r\n" % len(message) + message)
        client.send(b"".join(out) + b"\r\n")
        while True:
            line = client.read_line()
            if line.startswith(b"m "):
                assert line.startswith(b"m OK"), line
                break
        batch.clear()

    for item in messages(count):
        batch.append(item)
        if len(batch) == 200:
            flush()
    if batch:
        flush()
    return time.monotonic() - began


def fill_maildir(dovecot, count):
    """As delivery agents leave them: nothing of them has been read yet."""
    began = time.monotonic()
    home = f"{dovecot.folder}/home"
    for name in ("cur", "new", "tmp"):
        os.makedirs(f"{home}/mail/{name}")
    for n, (message, when) in enumerate(messages(count)):
        kept = message.replace(b"\r\n", b"\n")
        path = f"{home}/mail/cur/{1600000000 + n}.M{n}.bench,S={len(kept)},W={len(message)}:2,"
        with open(path, "wb") as out:
            out.write(kept)
        os.utime(path, (when, when))
    owner = os.stat(home)
    for folder, _, files in os.walk(f"{home}/mail"):
        for name in (".", *files):
            os.chown(f"{folder}/{name}", owner.st_uid, owner.st_gid)
    return time.monotonic() - began


def timed(client, command):
    """Seconds until the tagged answer; reads as fast as it can, looks at nothing."""
    client.number += 1
    tag = f"t{client.number} ".encode()
    began = time.monotonic()
    client.send(tag + command.encode() + b"\r\n")
    tail = b""
    size = 0
    while True:
        data = client.sock.recv(1 << 20)
        if not data:
            raise EOFError
        size += len(data)
        tail = (tail + data)[-4096:]
        at = tail.rfind(b"\r\n", 0, len(tail) - 2)
        last = tail[at + 2:] if at >= 0 else tail
        if tail.endswith(b"\r\n") and last.startswith(tag):
            assert last.startswith(tag + b"OK"), last
            return time.monotonic() - began, size


# name, command, how often (1: the first time is what counts), least ratio
SUITE = [
    ("SELECT", "SELECT INBOX", 3, 1),
    ("FETCH ENVELOPE, first", "FETCH 1:* (ENVELOPE)", 1, 20),
    ("FETCH ENVELOPE", "FETCH 1:* (ENVELOPE)", 3, 2),
    ("FETCH FLAGS", "FETCH 1:* (FLAGS)", 3, 2),
    ("FETCH UID FLAGS", "UID FETCH 1:* (FLAGS)", 3, 2),
    ("FETCH ALL", "FETCH 1:* ALL", 3, 2),
    ("FETCH BODYSTRUCTURE", "FETCH 1:* (BODYSTRUCTURE)", 3, 2),
    ("FETCH HEADER.FIELDS, first",
     "FETCH 1:* (BODY.PEEK[HEADER.FIELDS (FROM SUBJECT DATE)])", 1, 2),
    ("FETCH HEADER.FIELDS", "FETCH 1:* (BODY.PEEK[HEADER.FIELDS (FROM SUBJECT DATE)])", 3, 2),
    ("FETCH BODY[] of 10,000", "FETCH 1:10000 (BODY.PEEK[])", 3, 1),
    ("SEARCH SUBJECT, first", "SEARCH SUBJECT government", 1, 2),
    ("SEARCH SUBJECT", "SEARCH SUBJECT government", 3, 2),
    ("SEARCH FROM", "SEARCH FROM user17", 3, 2),
    ("SEARCH HEADER Message-ID", "SEARCH HEADER Message-ID <77.", 3, 2),
    ("SEARCH SENTSINCE, first", "SEARCH SENTSINCE 1-Jan-2021", 1, 2),
    ("SEARCH SENTSINCE", "SEARCH SENTSINCE 1-Jan-2021", 3, 2),
    ("SEARCH UNSEEN", "SEARCH UNSEEN", 3, 2),
    ("SEARCH BODY", "SEARCH BODY nowhere", 3, 1),
    ("SEARCH TEXT", "SEARCH TEXT nowhere", 1, 1),
    ("SORT DATE, first", "SORT (DATE) UTF-8 ALL", 1, 2),
    ("SORT DATE", "SORT (DATE) UTF-8 ALL", 3, 2),
    ("SORT SUBJECT, first", "SORT (SUBJECT) UTF-8 ALL", 1, 2),
    ("SORT SUBJECT", "SORT (SUBJECT) UTF-8 ALL", 3, 2),
    ("SORT REVERSE ARRIVAL", "SORT (REVERSE ARRIVAL) UTF-8 ALL", 3, 2),
    ("THREAD REFERENCES, first", "THREAD REFERENCES UTF-8 ALL", 1, 2),
    ("THREAD REFERENCES", "THREAD REFERENCES UTF-8 ALL", 3, 2),
    ("THREAD ORDEREDSUBJECT", "THREAD ORDEREDSUBJECT UTF-8 ALL", 3, 2),
]


def cpu_ms(pid):
    """Time that all threads of a process ran so far."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as stat:
            total += int(stat.read().split()[0])
    return total / 1e6


def peer_pid(dovecot):
    """The process that serves the one session there is."""
    with open(f"/proc/{dovecot.process.pid}/task/{dovecot.process.pid}/children",
              encoding="ascii") as children:
        for pid in children.read().split():
            with open(f"/proc/{pid}/comm", encoding="ascii") as comm:
                if comm.read().strip() == "imap":
                    return int(pid)
    raise RuntimeError("no imap process")


def best(client, pid, command, times):
    """(ms on the clock, ms of the server's CPU, bytes): of the best time."""
    results = []
    for _ in range(times):
        before = cpu_ms(pid)
        took, size = timed(client, command)
        results.append((took * 1000, cpu_ms(pid) - before, size))
    return min(results)


def run(ours, peer, only):
    """Each is (client, pid of its server)."""
    missed = []
    print(f"{'ms':32}{'ours':>9}{'Dovecot':>9}{'ratio':>7}{'goal':>5}   "
          f"{'CPU':>8}{'Dovecot':>9}{'ratio':>7}")
    for name, command, times, goal in SUITE:
        if only and only not in name:
            continue
        wall, cpu, size = best(*ours, command, times)
        if not peer:
            print(f"{name:32}{wall:9.1f}{'':24}{cpu:8.1f}  {size / 1e6:.1f} MB", flush=True)
            continue
        peer_wall, peer_cpu, _ = best(*peer, command, times)
        print(f"{name:32}{wall:9.1f}{peer_wall:9.1f}{peer_wall / wall:7.1f}{goal:5}   "
              f"{cpu:8.1f}{peer_cpu:9.1f}{peer_cpu / cpu:7.1f}  {size / 1e6:.1f} MB", flush=True)
        if peer_wall / wall < goal:
            missed.append(name)
    if missed:
        print("below the goal:", ", ".join(missed))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=100000)
    parser.add_argument("--location", default="maildir:~/mail")
    parser.add_argument("--only", default="")
    parser.add_argument("--no-peer", action="store_true")
    opt = parser.parse_args()
    settings = {"store.map_size": "8G"}
    with Appliance(settings=settings, accounts=("alice",),
                   listeners={"imap": {"login_without_tls": "yes"}}) as appliance:
        ours = Imap(appliance.connect("imap", timeout=600))
        ours.login("alice@example.test", PASSWORD)
        took = fill(ours, opt.messages)
        print(f"{opt.messages} messages in {took:.1f} s here", flush=True)
        ours.ok("SELECT INBOX")
        pid = appliance.pids()["imapd-worker"]
        if opt.no_peer:
            run((ours, pid), None, opt.only)
            return
        with Dovecot(location=opt.location) as dovecot:
            is_maildir = opt.location == "maildir:~/mail"
            if is_maildir:
                took = fill_maildir(dovecot, opt.messages)
            peer = Imap(dovecot.connect())
            peer.login(PEER_USER, PEER_PASSWORD)
            if not is_maildir:
                took = fill(peer, opt.messages)
            print(f"{opt.messages} messages in {took:.1f} s in Dovecot", flush=True)
            peer.ok("SELECT INBOX")
            run((ours, pid), (peer, peer_pid(dovecot)), opt.only)


if __name__ == "__main__":
    main()
