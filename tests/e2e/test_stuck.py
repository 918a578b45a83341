"""A process that is stopped in the middle of a transaction, by strace at a system call: what it holds
is free again when its monitor has noticed, and meanwhile the file grows by what came, no more."""
import os
import re
import signal
import smtplib
import subprocess
import threading

import pytest

from appliance import Appliance

BOB = "bob@example.test"
LARGE = b"Subject: large\r\n\r\n" + b"".join(
    b"%d\r\n" % (i * i * 7919 % 1000003) for i in range(40000))


@pytest.fixture(scope="module")
def server():
    # Everything that is larger than this has a file, which is opened inside of a transaction.
    with Appliance(settings={"store.inline_max": "1K"}) as running:
        yield running


def send(server, count, content=b"Subject: small\r\n\r\ntext\r\n"):
    with smtplib.SMTP("127.0.0.1", server.ports["smtp"], local_hostname="client.example",
                      timeout=60) as session:
        for _ in range(count):
            session.sendmail("a@far.example", [BOB], content)


def try_to_send(server):
    """Whoever is stopped may be the one that answers."""
    try:
        send(server, 1, LARGE)
    except (OSError, smtplib.SMTPException):
        pass


def stop_at(server, program, call):
    """Lets a program stop at its next call of a kind. Returns its PID once it has stopped."""
    pid = server.pids()[program]
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                               "-e", f"inject={call}:signal=STOP:when=1", "-p", str(pid)],
                              stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def status():
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            return file.read()

    server.wait_for(lambda: "TracerPid:\t0\n" not in status())
    sender = threading.Thread(target=try_to_send, args=(server,))
    sender.start()
    server.wait_for(lambda: re.search(r"^State:\s+[tT]", status(), re.M))
    tracer.kill()
    tracer.wait()
    # Its end has let go of it: stopped it stays.
    os.kill(pid, signal.SIGSTOP)
    server.wait_for(lambda: re.search(r"^State:\s+T", status(), re.M))
    return pid, sender


def queue_size(server):
    return os.path.getsize(f"{server.state}/queue/env/data.mdb")


def is_delivered(server):
    done = server.run_ctl("queue", "list")
    return done.returncode == 0 and done.stdout.strip() == b"[]"


def test_a_stopped_reader_costs_what_came_meanwhile(server):
    pid, sender = stop_at(server, "smtpd-local", "openat")
    before = queue_size(server)
    send(server, 200)
    server.wait_for(lambda: server.pids().get("smtpd-local") not in (None, pid))
    assert "event=program-silent program=smtpd-local" in server.log_text()
    sender.join()
    server.wait_for(lambda: is_delivered(server))
    grown = queue_size(server)
    assert grown - before < 64 << 20
    # Its slot is free: pages are used again, the same once more needs no room.
    for _ in range(3):
        send(server, 200)
        server.wait_for(lambda: is_delivered(server))
    assert queue_size(server) <= grown + (grown - before) // 2 + (1 << 20)


def test_a_stopped_writer_blocks_nobody_for_long(server):
    """It holds the lock of the queue: its monitor's kill frees it."""
    pid, sender = stop_at(server, "smtpd-receive", "pwrite64,fdatasync")
    server.wait_for(lambda: server.pids().get("smtpd-receive") not in (None, pid))
    assert "event=program-silent program=smtpd-receive" in server.log_text()
    sender.join()
    send(server, 3)
    server.wait_for(lambda: is_delivered(server))
    assert server.ctl("check")["ok"]
