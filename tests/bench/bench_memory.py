#!/usr/bin/python3
"""What stays in memory when nothing happens, by process, here and in Debian's Postfix and Dovecot in
one run; logins a second; and how long a changed port takes until it answers. Needs root and the
packages postfix, dovecot-imapd and dovecot-pop3d, whose own services are not touched."""
import argparse
import contextlib
import imaplib
import os
import poplib
import shutil
import signal
import smtplib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import ipc  # noqa: E402
from appliance import PASSWORD, Appliance, free_ports, tls_context  # noqa: E402
from dovecot import PEER_PASSWORD, PEER_USER, Dovecot  # noqa: E402

MAIN_CF = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination = example.test
local_recipient_maps =
local_transport = discard:
myhostname = mail.example.test
maillog_file =
multi_instance_enable = no
"""


class Postfix:
    """Debian's master.cf with a port of our own and nothing in a chroot."""

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="postfix-")
        self.port = free_ports(1)[0]
        os.chmod(self.folder, 0o755)
        conf = f"{self.folder}/conf"
        os.mkdir(conf)
        os.mkdir(f"{self.folder}/queue")
        os.mkdir(f"{self.folder}/data")
        shutil.chown(f"{self.folder}/data", "postfix")
        with open(f"{conf}/main.cf", "w", encoding="ascii") as out:
            out.write(MAIN_CF.format(folder=self.folder))
        with open("/usr/share/postfix/master.cf.dist", encoding="ascii") as lines, \
                open(f"{conf}/master.cf", "w", encoding="ascii") as out:
            for line in lines:
                fields = line.split()
                if len(fields) >= 8 and fields[0] == "smtp" and fields[1] == "inet":
                    fields[0] = f"127.0.0.1:{self.port}"
                if len(fields) >= 8 and fields[1] in ("inet", "unix", "unix-dgram"):
                    fields[4] = "n"
                    line = " ".join(fields) + "\n"
                out.write(line)
        subprocess.run(["postfix", "-c", conf, "start"], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        with open(f"{self.folder}/queue/pid/master.pid", encoding="ascii") as pid:
            self.pid = int(pid.read())
        return self

    def __exit__(self, *why):
        os.kill(self.pid, signal.SIGTERM)
        while os.path.exists(f"/proc/{self.pid}"):
            time.sleep(0.05)
        shutil.rmtree(self.folder, ignore_errors=True)


def tree(pid):
    """The process and all it started."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        with contextlib.suppress(OSError), open(f"/proc/{one}/task/{one}/children",
                                                encoding="ascii") as children:
            waiting += [int(c) for c in children.read().split()]
    return found


def pss(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def name_of(pid):
    with open(f"/proc/{pid}/comm", encoding="ascii") as comm:
        return comm.read().strip()


def show(title, pid):
    total, rows = 0, []
    for one in tree(pid):
        with contextlib.suppress(OSError):
            size = pss(one)
            rows.append((size, name_of(one)))
            total += size
    print(f"\n{title}: {total / 1024:.1f} MB of PSS in {len(rows)} processes")
    for size, name in sorted(rows, reverse=True):
        print(f"  {name:<18}{size:>7} KB")
    return total


def use(smtp, imap, pop3, user, password, address):
    """One message in, one look by each protocol: every process has done its work once."""
    with smtplib.SMTP("127.0.0.1", smtp) as client:
        client.sendmail("s@example.net", [address], "Subject: x\r\n\r\nhello\r\n")
    with imaplib.IMAP4("127.0.0.1", imap) as client:
        client.login(user, password)
        client.select("INBOX")
    client = poplib.POP3("127.0.0.1", pop3)
    client.user(user)
    client.pass_(password)
    client.quit()


def memory(ours, wait):
    with Postfix() as postfix:
        pop3 = free_ports(1)[0]
        more = (f"protocols = imap pop3\nservice pop3-login {{\n  chroot =\n"
                f"  inet_listener pop3 {{\n    port = {pop3}\n  }}\n"
                "  inet_listener pop3s {\n    port = 0\n  }\n}\n")
        with Dovecot(more=more) as dovecot:
            use(ours.ports["smtp"], ours.ports["plain"], ours.ports["plain-pop3"],
                "alice@example.test", PASSWORD, "alice@example.test")
            use(postfix.port, dovecot.port, pop3, PEER_USER, PEER_PASSWORD, "a@example.test")
            time.sleep(wait)
            here = show("mailstead", ours.process.pid)
            there = show("Postfix", postfix.pid) + show("Dovecot", dovecot.process.pid)
    print(f"\nmailstead {here / 1024:.1f} MB, Postfix and Dovecot {there / 1024:.1f} MB: "
          f"{here / there:.2f}")


def logins(port, is_tls, user, password, seconds, threads):
    """IMAP logins a second, each over a connection of its own."""
    counts, end = [0] * threads, time.monotonic() + seconds
    context = tls_context()

    def work(i):
        while time.monotonic() < end:
            sock = socket.create_connection(("127.0.0.1", port))
            if is_tls:
                sock = context.wrap_socket(sock)
            sock.recv(1000)
            sock.sendall(f'a LOGIN {user} "{password}"\r\n'.encode())
            answer = b""
            while b"a OK" not in answer:
                got = sock.recv(4000)
                assert got and b"a NO" not in got, answer + got
                answer += got
            sock.close()
            counts[i] += 1

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    return sum(counts) / seconds


def login_rates(ours, seconds):
    print(f"\nIMAP logins a second, 8 clients, {seconds} s each")
    for cache, name in (("10m", "cached"), ("0", "not cached")):
        ours.ctl("set", "auth.cache_seconds", cache)
        for port, is_tls in (("plain", False), ("imaps", True)):
            rate = logins(ours.ports[port], is_tls, "alice@example.test", PASSWORD, seconds, 8)
            print(f"  mailstead, {'TLS' if is_tls else 'plain'}, {name}: {rate:.0f}")
    with Dovecot() as dovecot:
        rate = logins(dovecot.port, False, PEER_USER, PEER_PASSWORD, seconds, 8)
        print(f"  Dovecot, plain, static password (no hash): {rate:.0f}")


def port_changes(ours, times):
    took = []
    with ipc.Client(f"{ours.folder}/run/authd/admin.sock") as admin:
        for port in free_ports(times):
            start = time.perf_counter()
            admin.admin("set", "listener.moving.port", str(port), "listener.moving.role", "imap",
                        "listener.moving.address", "127.0.0.1")
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.recv(100)
            took.append((time.perf_counter() - start) * 1000)
    print(f"\nfrom \"set\" to the greeting on the new port, {times} times: median "
          f"{statistics.median(took):.0f} ms, longest {max(took):.0f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wait", type=float, default=5, help="seconds of rest before measuring")
    parser.add_argument("--seconds", type=float, default=3, help="of each login rate")
    parser.add_argument("--changes", type=int, default=20)
    options = parser.parse_args()
    listeners = {"plain": {"role": "imap", "login_without_tls": "yes"},
                 "plain-pop3": {"role": "pop3", "login_without_tls": "yes"}}
    with Appliance(settings={"auth.argon2_memory": "19M"}, listeners=listeners) as ours:
        memory(ours, options.wait)
        login_rates(ours, options.seconds)
        port_changes(ours, options.changes)


if __name__ == "__main__":
    main()
