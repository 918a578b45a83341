"""Mail in, measured against Debian's Postfix with Dovecot's LMTP, both durable, in one run on one
machine: ratios are what counts. Instances of one's own in folders of their own; needs root.

    make bench-smtp [BENCH="--quick"]     --quick: 1 KB only, once; --once: each figure once
"""
import imaplib
import json
import os
import re
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from appliance import BUILD, PASSWORD, Appliance  # noqa: E402
from dovecot import PEER_PASSWORD  # noqa: E402
from postfix import Peer  # noqa: E402

LOAD = os.path.join(BUILD, "bench", "smtp_load")
TO = "alice@example.test"
QUICK = "--quick" in sys.argv
ROUNDS = 1 if QUICK or "--once" in sys.argv else 3


def load(server, *words):
    done = subprocess.run([LOAD, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True)
    seconds, bad = done.stdout.split()
    if bad != "0":
        print(f"  {server.name}: {bad} replies were not as hoped for", file=sys.stderr)
    return float(seconds)


class Ours:
    name = "mailstead"

    def __init__(self):
        self.appliance = Appliance(
            listeners={"imap": {"login_without_tls": "yes"}},
            settings={"log.level": "info", "auth.argon2_memory": "19M"})

    def __enter__(self):
        self.appliance.__enter__()
        self.ports = self.appliance.ports
        self.imap_port, self.user, self.password = self.ports["imap"], TO, PASSWORD
        self.auth_ports = {"starttls": self.ports["submission"],
                           "implicit": self.ports["submissions"]}
        self.folders = (self.appliance.state,)
        return self

    def __exit__(self, *why):
        self.appliance.__exit__(*why)

    def processes(self):
        return {pid: name for name, pid in self.appliance.pids().items()}


class Theirs:
    name = "postfix + dovecot"

    def __enter__(self):
        self.peer = Peer().__enter__()
        self.ports = self.peer.ports
        self.imap_port, self.user, self.password = self.peer.dovecot.port, "alice", PEER_PASSWORD
        self.auth_ports = {"starttls": self.ports["smtp"], "implicit": self.ports["submissions"]}
        self.folders = (self.peer.folder, self.peer.dovecot.folder)
        return self

    def __exit__(self, *why):
        self.peer.__exit__(*why)

    def processes(self):
        """All below Postfix's master and Dovecot's, by their folder in the command line or parent."""
        found = {}
        roots = {self.peer.dovecot.process.pid}
        with open(f"{self.peer.folder}/spool/pid/master.pid", encoding="ascii") as pid:
            roots.add(int(pid.read()))
        parents = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                    head, rest = stat.read().rsplit(")", 1)
                parents[int(entry)] = (int(rest.split()[1]), head.split("(", 1)[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
        changed = True
        found = {pid: parents[pid][1] for pid in roots if pid in parents}
        while changed:
            changed = False
            for pid, (parent, name) in parents.items():
                if parent in found and pid not in found:
                    found[pid] = name
                    changed = True
        return found


def messages(server):
    imap = imaplib.IMAP4("127.0.0.1", server.imap_port)
    imap.login(server.user, server.password)
    answer = imap.status("INBOX", "(MESSAGES)")[1][0].decode()
    imap.logout()
    return int(answer.rsplit(" ", 1)[1].rstrip(")"))


def until_visible(server, senders, total, size, mode):
    """(accepted a second, visible a second)"""
    goal = messages(server) + total
    start = time.monotonic()
    accepted = load(server, "send", server.ports["smtp"], senders, total, size, mode, TO)
    while messages(server) < goal:
        time.sleep(0.005)
        assert time.monotonic() - start < 300, "mail does not arrive"
    return total / accepted, total / (time.monotonic() - start)


def pss(server):
    total = 0
    for pid in server.processes():
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
                total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


WRITE = re.compile(r"(?:write|pwrite64|pwritev|writev)\(\d+<(/[^>]*)>.* = (\d+)$")
FLUSH = re.compile(r"(?:fsync|fdatasync|sync_file_range)\(\d+<(/[^>]*)>")


def disk_use(server, work):
    """(bytes written to files below the server's folders, flushes) while work() runs. LMDB writes
    its meta page through a descriptor with O_DSYNC: a flush too."""
    pids = [f"-p{pid}" for pid in server.processes()]
    path = f"/tmp/bench-smtp-{os.getpid()}"
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-y", "-s", "0", "-e",
         "trace=fsync,fdatasync,sync_file_range,write,pwrite64,pwritev,writev", "-o", path,
         *pids], stderr=subprocess.DEVNULL)
    time.sleep(1)
    work()
    time.sleep(2)
    tracer.terminate()
    tracer.wait()
    size = flushes = 0
    with open(path, encoding="utf-8", errors="replace") as trace:
        for line in trace:
            wrote = WRITE.search(line)
            if wrote and wrote.group(1).startswith(server.folders) and \
                    not wrote.group(1).endswith("/log"):
                size += int(wrote.group(2))
                flushes += "data.mdb" in line and wrote.group(2) == "120"
            flushes += bool(FLUSH.search(line))
    os.unlink(path)
    return size, flushes


def row(label, ours, theirs, unit, is_less_better=False):
    ratio = (theirs / ours if is_less_better else ours / theirs) if ours and theirs else 0
    print(f"{label:44} {ours:10.1f} {theirs:10.1f} {unit:12} {ratio:6.1f} x", flush=True)
    RESULTS.append({"what": label, "mailstead": ours, "peer": theirs, "unit": unit,
                    "ratio": ratio})


RESULTS = []


def measure_messages(ours, theirs):
    sizes = (1000,) if QUICK else (1000, 10000, 100000)
    for size in sizes:
        for senders in (1, 10, 50):
            for mode in ("many", "one"):
                total = max(senders * 4, (200 if QUICK else 400) * (1 if size < 50000 else 1) //
                            (4 if size >= 100000 else 1))
                rates = {ours: [], theirs: []}
                for _ in range(ROUNDS):
                    for server in (ours, theirs):
                        times = 5 if server is ours and senders > 1 else 1
                        rates[server].append(
                            until_visible(server, senders, total * times, size, mode)[1])
                row(f"{size // 1000} KB, {senders} senders, {mode} a connection, visible",
                    statistics.median(rates[ours]), statistics.median(rates[theirs]), "messages/s")


def measure_auth(ours, theirs):
    count = 100 if QUICK else 300
    for kind in ("starttls", "implicit"):
        rates = {}
        for server in (ours, theirs):
            login = (server.user, server.password)
            load(server, "auth", server.auth_ports[kind], kind, 4, 20, *login)
            rates[server] = statistics.median(
                count / load(server, "auth", server.auth_ports[kind], kind, 10, count, *login)
                for _ in range(ROUNDS))
        row(f"submission sessions with AUTH, {kind}", rates[ours], rates[theirs], "sessions/s")


def measure_idle(ours, theirs):
    count, kib = 1000, {}
    for server in (ours, theirs):
        before = pss(server)
        idle = subprocess.Popen([LOAD, "idle", str(server.ports["smtp"]), str(count)],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert idle.stdout.readline() == "open\n"
        kib[server] = (pss(server) - before) / count
        idle.stdin.close()
        idle.wait()
    row("memory of an idle connection (1,000 open)", kib[ours], kib[theirs], "KiB", True)


def measure_writes(ours, theirs):
    for senders, total in ((1, 50), (10, 500)):
        used = {}
        for server in (ours, theirs):
            size, flushes = disk_use(
                server, lambda s=server: until_visible(s, senders, total, 1000, "many"))
            used[server] = (size / total / 1024, flushes / total)
        row(f"written for a message of 1 KB, {senders} senders", used[ours][0], used[theirs][0],
            "KiB", True)
        row(f"flushes for a message of 1 KB, {senders} senders", used[ours][1], used[theirs][1],
            "flushes", True)


def main():
    with Ours() as ours, Theirs() as theirs:
        print(f"{'':44} {'mailstead':>10} {'peer':>10}")
        row("memory at rest", pss(ours) / 1024, pss(theirs) / 1024, "MiB PSS", True)
        measure_idle(ours, theirs)
        measure_auth(ours, theirs)
        measure_messages(ours, theirs)
        measure_writes(ours, theirs)
    if "--json" in sys.argv:
        print(json.dumps(RESULTS, indent=1))


if __name__ == "__main__":
    main()
