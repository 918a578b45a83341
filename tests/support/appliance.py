"""A whole mailstead in a folder of its own, for tests: started, asked, killed and stopped by PID."""
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("MS_BUILD", "build"))
BIN = os.path.join(BUILD, "bin")
LISTENERS = ("smtp", "submission", "submissions", "submission-alt", "imap", "imaps", "pop3",
             "pop3s")
START_SECONDS = 60
PASSWORD = "correct horse battery"
# Started as root, each process gets a uid of its own: from here on, in this order.
UID_BASE = 700000
USERS = ("auth", "key", "in", "out", "local", "imap", "pop3", "web", "acme", "fetch")

# Fast and roomy: what a test of behaviour needs; a test of limits sets its own.
SETTINGS = {
    "server.hostname": "mail.example.test",
    "auth.argon2_memory": "64K",
    "auth.failures_per_address": "100000",
    "auth.failures_per_account": "100000",
    "limits.connections_per_address": "4000",
    "limits.connections_per_network": "4000",
    "store.map_size": "1G",
    "queue.map_size": "512M",
    "auth.map_size": "64M",
    "queue.space_min": "0",
    "send.per_minute": "0",
    "send.per_hour": "0",
    "send.per_day": "0",
    "send.new_recipients_per_day": "0",
    "send.sessions": "0",
    "smtp.error_delay": "0",
    "smtp.greet_delay": "0",
    "web.port": "0",
    "web.http_port": "0",
}


def free_ports(count):
    """Ports that the kernel picked a moment ago."""
    held = [socket.socket() for _ in range(count)]
    for s in held:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def tls_context():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Appliance:
    """with Appliance() as a: a.ctl("account", "list") ... user: who starts it, if we are root."""

    def __init__(self, settings=None, listeners=None, accounts=("alice", "bob"), user=None,
                 env=None):
        self.folder = tempfile.mkdtemp(prefix="mailstead-")
        os.chmod(self.folder, 0o711)
        self.user = user
        self.env = env or {}
        self.state = f"{self.folder}/state"
        os.mkdir(f"{self.folder}/etc")  # who may read settings may not read all
        self.conf = f"{self.folder}/etc/mailstead.conf"
        self.log = f"{self.folder}/log"
        self.settings = {**SETTINGS, **(settings or {})}
        self.is_separate = os.geteuid() == 0 and user is None
        if self.is_separate:
            self.settings.setdefault("process.uid_base", str(UID_BASE))
        self.listeners = listeners or {}
        self.accounts = accounts
        self.ports = {}
        self.process = None

    def __enter__(self):
        for attempt in range(5):
            self.pick_ports()
            try:
                self.start()
                break
            except RuntimeError:
                # Somebody else took one of the ports in between.
                if attempt == 4 or "in use" not in self.log_text():
                    raise
        if self.accounts:
            self.ctl("domain", "add", "example.test")
        for name in self.accounts:
            self.add_account(f"{name}@example.test")
        return self

    def __exit__(self, kind, value, trace):
        self.stop()
        text = self.log_text()
        if kind is None:
            assert "ERROR: AddressSanitizer" not in text, text
            assert "ERROR: LeakSanitizer" not in text, text
            assert "WARNING: ThreadSanitizer" not in text, text
            assert "runtime error:" not in text, text
        if kind is not None:
            print(text[-20000:])
        shutil.rmtree(self.folder, ignore_errors=True)

    def pick_ports(self):
        names = list(LISTENERS) + [n for n in self.listeners if n not in LISTENERS]
        self.ports = dict(zip(names, free_ports(len(names))))
        self.write_conf()

    def write_conf(self):
        lines = {"paths.state": self.state, "paths.run": f"{self.folder}/run",
                 "paths.libexec": BIN, **self.settings}
        for name, port in self.ports.items():
            lines[f"listener.{name}.port"] = str(port)
            lines[f"listener.{name}.address"] = "127.0.0.1"
        for name, keys in self.listeners.items():
            for key, value in keys.items():
                lines[f"listener.{name}.{key}"] = value.replace("$FOLDER", self.folder)
        with open(self.conf, "w", encoding="utf-8") as conf:
            conf.writelines(f'{k} = "{v}"\n' for k, v in lines.items())

    def start_command(self):
        return [f"{BIN}/mailsteadctl", "-c", self.conf, "run"]

    def start(self):
        """Starts and waits until all programs are ready."""
        log = open(self.log, "ab")
        env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", "MAILSTEAD_ALLOW_ROOT": "1",
               **self.env}
        who = {"user": self.user, "group": "nogroup", "extra_groups": []} if self.user else {}
        if self.user:
            self.give_away()
        self.process = subprocess.Popen(
            self.start_command(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=log, env=env, **who)
        log.close()
        line = self.process.stdout.readline()
        if line != b"mailstead is ready\n":
            self.process.wait(START_SECONDS)
            raise RuntimeError(f"start failed: {self.log_text()[-4000:]}")

    def give_away(self):
        """The folder belongs to who will start."""
        for folder, _, files in os.walk(self.folder):
            for path in [folder] + [f"{folder}/{name}" for name in files]:
                shutil.chown(path, self.user, "nogroup")

    def stop(self):
        if not self.process:
            return
        # Under a tracer it is not our child that is meant.
        os.kill(self.pids().get("mailsteadctl", self.process.pid), signal.SIGTERM)
        try:
            self.process.wait(90)
        finally:
            self.process.stdout.close()
            self.process = None

    def kill_all(self):
        """SIGKILL to every process at once, as a crash of the machine would (without its disk)."""
        pids = self.pids()
        self.process.kill()
        for pid in pids.values():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(30)
        self.process.stdout.close()
        self.process = None

    def pids(self):
        """Program name -> PID, of all that mailsteadctl run and its monitors started."""
        found = {}
        waiting = [self.process.pid]
        while waiting:
            parent = waiting.pop()
            try:
                with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as children:
                    pids = [int(pid) for pid in children.read().split()]
                for pid in pids:
                    with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
                        argv = cmdline.read().split(b"\0")
                    if argv[0]:
                        found[os.path.basename(argv[0].decode())] = pid
                waiting += pids
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    def kill(self, program):
        """SIGKILL to one program; returns the PID that was killed."""
        pid = self.pids()[program]
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_for(self, what, seconds=60):
        """Polls until what() is true; its value."""
        end = time.monotonic() + seconds
        while True:
            value = what()
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s: {self.log_text()[-8000:]}")
            time.sleep(0.01)

    def run_ctl(self, *args, secret=None, content=b""):
        return subprocess.run([f"{BIN}/mailsteadctl", "-c", self.conf, "--json", *args],
                              input=(secret.encode() + b"\n" if secret is not None else b"") +
                              content,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                              timeout=120, env={**os.environ, **self.env})

    def ctl(self, *args, secret=None, content=b""):
        """The parsed answer; an error is an AssertionError."""
        done = self.run_ctl(*args, secret=secret, content=content)
        assert done.returncode == 0, (args, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def add_account(self, address, password=PASSWORD):
        self.ctl("account", "add", address, "--password-stdin", secret=password)

    def log_text(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""

    @property
    def certificate(self):
        """A file with the certificate that the listeners show, for clients that check it."""
        path = f"{self.folder}/certificate.pem"
        with open(path, "w", encoding="ascii") as pem:
            pem.write(ssl.get_server_certificate(("127.0.0.1", self.ports["imaps"])))
        return path

    def connect(self, listener, timeout=30, is_raw=False):
        """A plain socket to a listener, or through TLS where it is implicit."""
        path = self.listeners.get(listener, {}).get("address", "").replace("$FOLDER", self.folder)
        if path.startswith("/"):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(timeout)
            sock.connect(path)
            return sock
        sock = socket.create_connection(("127.0.0.1", self.ports[listener]), timeout=timeout)
        if listener in ("submissions", "imaps", "pop3s") and not is_raw:
            sock = tls_context().wrap_socket(sock, server_hostname="mail.example.test")
        return sock
