"""The Debian package in a clean Debian: installed, started as root, used, upgraded, removed, purged.

Needs root (a chroot, a network namespace with all ports free) and Debian's package sources.
"""
import contextlib
import ctypes
import fcntl
import glob
import imaplib
import os
import poplib
import re
import shutil
import signal
import smtplib
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEBS = os.path.join(ROOT, os.environ.get("MS_BUILD", "build"), "deb")
MIRROR = os.environ.get("MIRROR", "http://deb.debian.org/debian")
SUITE = os.environ.get("SUITE", "bookworm")
PASSWORD = "correct horse battery"
ALICE = "alice@example.test"
USERS = ["mailstead-" + name for name in
         ("auth", "key", "in", "out", "local", "imap", "pop3", "web", "acme", "fetch")]
ENV = {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
       "DEBIAN_FRONTEND": "noninteractive"}



def can_separate():
    """Root in a container may be without the right to make namespaces."""
    return os.geteuid() == 0 and subprocess.run(
        ["unshare", "--mount", "--pid", "--net", "--fork", "true"], check=False,
        stderr=subprocess.DEVNULL).returncode == 0


pytestmark = pytest.mark.skipif(not can_separate(), reason="needs root, and namespaces")


@contextlib.contextmanager
def own_network():
    """This process, and what it starts, in a network of its own, with nothing but loopback."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net", "rb") as before:
        assert libc.unshare(0x40000000) == 0  # CLONE_NEWNET
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                request = struct.pack("16sH14x", b"lo", 0x49)  # IFF_UP, LOOPBACK, RUNNING
                fcntl.ioctl(sock, 0x8914, request)  # SIOCSIFFLAGS
            yield
        finally:
            assert libc.setns(before.fileno(), 0) == 0


class Machine:
    """A Debian in a folder."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.process = None
        self.log = f"{self.folder}.log"

    def command(self, *words):
        script = ('root=$0; mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev"; '
                  'exec chroot "$root" "$@"')
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", script,
                self.folder, *words]

    def run(self, *words, secret=None, check=True):
        done = subprocess.run(self.command(*words), env=ENV, check=False, text=True, timeout=600,
                              input=None if secret is None else secret + "\n",
                              stdin=subprocess.DEVNULL if secret is None else None,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        print("$", *words, "\n", done.stdout)
        assert not check or done.returncode == 0, done.stdout
        return done

    def path(self, name):
        return f"{self.folder}{name}"

    def install(self, deb):
        shutil.copy(deb, self.path("/tmp/"))
        return self.run("apt-get", "-q", "-y", "--no-install-recommends", "install",
                        f"/tmp/{os.path.basename(deb)}").stdout

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command("mailsteadctl", "run"), env=ENV, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=log)
        line = self.process.stdout.readline()
        assert line == b"mailstead is ready\n", self.log_text()

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()[-8000:]

    def child(self):
        """PID, as seen from here, of mailsteadctl run."""
        pid = self.process.pid
        while True:
            with open(f"/proc/{pid}/comm", encoding="ascii") as comm:
                if comm.read().strip() == "mailsteadctl":
                    return pid
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
                pid = int(children.read().split()[0])

    def stop(self):
        if self.process:
            os.kill(self.child(), signal.SIGTERM)
            self.process.wait(90)
            self.process.stdout.close()
            self.process = None


def deb_of(folder):
    found = [d for d in glob.glob(f"{folder}/mailstead_*.deb")
             if d.endswith(f"_{architecture()}.deb")]
    assert len(found) == 1, found
    return found[0]


def architecture():
    return subprocess.run(["dpkg", "--print-architecture"], stdout=subprocess.PIPE, check=True,
                          text=True).stdout.strip()


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("debian") / "root"
    done = subprocess.run(["mmdebstrap", "--quiet", "--variant=apt", SUITE, str(folder), MIRROR],
                          check=False, timeout=900, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        pytest.skip(f"no Debian from {MIRROR}: {done.stderr[-300:]}")
    shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
    made = Machine(folder)
    made.run("apt-get", "-q", "update")
    yield made
    if made.process:
        made.process.kill()
        made.process.wait()
    subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=False)


@pytest.fixture(scope="module")
def network(installed):
    with own_network():
        yield installed


@pytest.fixture(scope="module")
def installed(machine):
    machine.said = machine.install(deb_of(DEBS))
    return machine


@pytest.fixture(scope="module")
def running(network):
    network.start()
    return network


def newer_deb(folder):
    """The same package as the next version."""
    subprocess.run(["dpkg-deb", "-R", deb_of(DEBS), folder / "tree"], check=True)
    control = folder / "tree/DEBIAN/control"
    text = control.read_text()
    version = re.search(r"(?m)^Version: (.*)$", text)[1]
    control.write_text(text.replace(f"Version: {version}", f"Version: {version}+next"))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", folder / "tree", folder], check=True,
                   stdout=subprocess.DEVNULL)
    return deb_of(folder)


def send(subject):
    with smtplib.SMTP("127.0.0.1", 25, timeout=60) as session:
        session.sendmail("stranger@elsewhere.test", [ALICE],
                         f"From: <stranger@elsewhere.test>\r\nSubject: {subject}\r\n\r\ntext\r\n")


def insecure():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def subjects():
    session = imaplib.IMAP4_SSL("127.0.0.1", 993, ssl_context=insecure(), timeout=60)
    session.login(ALICE, PASSWORD)
    session.select("INBOX", readonly=True)
    _, found = session.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    session.logout()
    return [item[1].decode().strip()[9:] for item in found if isinstance(item, tuple)]


class Callers(threading.Thread):
    """Connects all the time, and counts who was greeted and who was not."""

    def __init__(self, ports=(25, 143, 110), address="127.0.0.1"):
        super().__init__(daemon=True)
        self.ports, self.address = ports, address
        self.greeted, self.failed = 0, []
        self.over = threading.Event()

    def run(self):
        while not self.over.is_set():
            for port in self.ports:
                try:
                    with socket.create_connection((self.address, port), timeout=60) as sock:
                        assert sock.recv(1), "closed without a greeting"
                    self.greeted += 1
                except (OSError, AssertionError) as error:
                    self.failed.append((port, error))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(120)


def wait_for(what, seconds=60):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


# In this order: one machine, one life.
def test_users_and_files(installed):
    passwd = open(installed.path("/etc/passwd"), encoding="utf-8").read()
    for user in USERS:
        assert f"\n{user}:" in passwd
        assert re.search(rf"(?m)^{user}:.*:/usr/sbin/nologin$", passwd)
    for link in ("/usr/sbin/sendmail", "/usr/lib/sendmail", "/usr/bin/mailq",
                 "/usr/bin/newaliases"):
        assert installed.run("readlink", "-e", link).stdout.strip() == "/usr/bin/mailsteadctl"
    assert os.stat(installed.path("/etc/mailstead/mailstead.conf")).st_mode & 0o777 == 0o644
    assert installed.run("dpkg", "--verify", "mailstead").stdout == ""
    assert installed.run("mailsteadctl", "config", "check").stdout == ""


def test_every_program_is_hardened(installed):
    """Position independent, read-only relocations, no executable stack, stack protector."""
    programs = glob.glob(installed.path("/usr/libexec/mailstead/*")) + \
        [installed.path("/usr/bin/mailsteadctl")]
    assert len(programs) > 10
    for program in programs:
        text = subprocess.run(["readelf", "-W", "-h", "-l", "-d", "--dyn-syms", program],
                              stdout=subprocess.PIPE, check=True, text=True).stdout
        assert re.search(r"Type: +DYN", text), program
        assert "GNU_RELRO" in text and re.search(r"FLAGS.*NOW|BIND_NOW", text), program
        assert re.search(r"GNU_STACK .* RW +0x", text), program
        assert "__stack_chk_fail" in text, program
        assert not re.search(r"RPATH|RUNPATH|TEXTREL", text), program


def test_install_asks_nothing_and_says_what_to_do(installed):
    assert "mailsteadctl setup-code" in installed.said


def test_the_main_job_as_root(running):
    running.run("mailsteadctl", "domain", "add", "example.test")
    running.run("mailsteadctl", "account", "add", ALICE, "--password-stdin", secret=PASSWORD)
    send("first")
    wait_for(lambda: subjects() == ["first"])
    with smtplib.SMTP("127.0.0.1", 587, timeout=60) as session:
        session.starttls(context=insecure())
        session.login(ALICE, PASSWORD)
        session.sendmail(ALICE, [ALICE], "Subject: second\r\n\r\ntext\r\n")
    wait_for(lambda: subjects() == ["first", "second"])
    session = poplib.POP3_SSL("127.0.0.1", 995, context=insecure(), timeout=60)
    session.user(ALICE)
    session.pass_(PASSWORD)
    assert session.stat()[0] == 2
    session.quit()


def test_sendmail_as_a_plain_user(running):
    done = subprocess.run(running.command("su", "-s", "/bin/sh", "daemon", "-c",
                                          f"sendmail -i {ALICE}"), env=ENV, check=False,
                          input=b"Subject: from cron\n\ntext\n", stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60)
    assert done.returncode == 0, done.stdout
    wait_for(lambda: subjects() == ["first", "second", "from cron"])


def processes(machine):
    """(PID, program) of everything that mailsteadctl run started."""
    todo = [machine.child()]
    while todo:
        pid = todo.pop()
        with contextlib.suppress(FileNotFoundError):
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
                todo += [int(c) for c in children.read().split()]
            with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
                yield pid, os.path.basename(cmdline.read().split(b"\0")[0].decode())


def pids_of(machine, name):
    return {pid for pid, program in processes(machine) if program == name}


def test_each_program_has_its_own_user(running):
    """No process that serves the network is root, none runs under another's user."""
    uids = {}
    passwd = {int(line.split(":")[2]): line.split(":")[0]
              for line in open(running.path("/etc/passwd"), encoding="utf-8")}
    for pid, name in processes(running):
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            uids[name] = passwd[int(re.search(r"(?m)^Uid:\t(\d+)", status.read())[1])]
    for program, user in (("authd", "auth"), ("smtpd-receive", "in"), ("smtpd-local", "local"),
                          ("imapd-worker", "imap"), ("pop3d-worker", "pop3"),
                          ("lighttpd", "web")):
        assert uids[program] == f"mailstead-{user}", uids


def test_setup_page(running):
    code = running.run("mailsteadctl", "--json", "setup-code").stdout
    assert re.search(r'"code": "([0-9a-f]{4}-){7}[0-9a-f]{4}"', code)
    with socket.create_connection(("127.0.0.1", 443), timeout=60) as sock:
        with insecure().wrap_socket(sock) as tls:
            tls.sendall(b"GET /setup HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert tls.recv(100).startswith(b"HTTP/1.0 200 ")


def test_backup_where_the_setting_says(running):
    assert "no backup" in running.run("mailsteadctl", "backup", "--scheduled").stdout
    assert running.run("mailsteadctl", "backup", check=False).returncode != 0
    running.run("mailsteadctl", "set", "backup.folder", "/var/backups/mailstead")
    assert "3 messages of 1 accounts" in running.run("mailsteadctl", "backup",
                                                     "--scheduled").stdout
    assert len(os.listdir(running.path("/var/backups/mailstead/generations"))) == 1


def test_upgrade_while_mail_and_sessions_go_on(running, tmp_path):
    running.run("mailsteadctl", "set", "server.hostname", "mail.example.test")
    session = imaplib.IMAP4_SSL("127.0.0.1", 993, ssl_context=insecure(), timeout=60)
    session.login(ALICE, PASSWORD)
    session.select("INBOX")
    before = {name: pids_of(running, name) for name in
              ("authd", "keyd", "smtpd-receive", "imapd-worker", "pop3d-worker")}
    newer = newer_deb(tmp_path)
    with Callers() as callers:
        said = running.install(newer)
        for name, pids in before.items():
            wait_for(lambda n=name, p=pids: pids_of(running, n) - p)
        greeted = callers.greeted
        wait_for(lambda: callers.greeted > greeted + 10)
    assert "the new programs take over" in said
    assert callers.failed == [] and callers.greeted > 10
    assert session.noop()[0] == "OK", "a session of before goes on"
    session.logout()
    assert subjects() == ["first", "second", "from cron"]
    assert '"mail.example.test"' in running.run("mailsteadctl", "--json", "get",
                                                "server.hostname").stdout
    send("after the upgrade")
    wait_for(lambda: len(subjects()) == 4)


def test_downgrade_is_refused(running):
    running.stop()
    shutil.copy(deb_of(DEBS), running.path("/tmp/older.deb"))
    done = running.run("dpkg", "-i", "/tmp/older.deb", check=False)
    assert done.returncode != 0 and "downgrade" in done.stdout
    assert "+next" in running.run("dpkg-query", "-W", "mailstead").stdout


def test_remove_keeps_mail_and_purge_says_what_it_removes(running):
    running.stop()
    running.run("apt-get", "-q", "-y", "remove", "mailstead")
    assert os.path.exists(running.path("/var/lib/mailstead/store"))
    assert os.path.exists(running.path("/etc/mailstead/mailstead.conf"))
    said = running.run("apt-get", "-q", "-y", "purge", "mailstead").stdout
    assert "/var/lib/mailstead" in said
    for path in ("/var/lib/mailstead", "/etc/mailstead", "/run/mailstead"):
        assert not os.path.exists(running.path(path)), path
