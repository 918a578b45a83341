#!/usr/bin/python3
"""make quickstart: a demo appliance in a folder, and the proof that mail goes in and comes out.

Makes DIR with a configuration, a self-signed certificate, the domain example.test and the account
alice@example.test, runs mailstead in the foreground, sends one message by SMTP on port 25 and one
by submission, reads both by IMAP and POP3 and compares them byte for byte, signs in to the web
admin, and says how to connect. With --oneshot it stops there. Standard library only.
"""
import argparse
import ctypes
import email.utils
import fcntl
import hashlib
import html
import http.client
import imaplib
import json
import os
import poplib
import re
import secrets
import select
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse

# Listener of the settings table -> its standard port.
LISTENERS = {"smtp": 25, "submissions": 465, "submission": 587, "submission-alt": 2525,
             "imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995}
WEB = {"web.port": 443, "web.http_port": 80}
HOSTNAME = "mail.example.test"
DOMAIN = "example.test"
ALICE = f"alice@{DOMAIN}"
ADMIN = f"admin@{DOMAIN}"
START_SECONDS = 60
PROOF_SECONDS = 30
PATH_MAX = 70  # the sockets' paths must fit into the kernel's 108 bytes


class Failed(Exception):
    """What a person should read; nothing else is printed."""


class Stopped(Exception):
    """SIGTERM or Ctrl-C."""


def on_signal(_signo, _frame):
    raise Stopped()


def run(*argv, **kwargs):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                          **kwargs)


def write_private(path, text):
    """A new file's contents with mode 0600, never half written."""
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as out:
        os.fchmod(fd, 0o600)
        out.write(text)
    os.replace(f"{path}.new", path)


def read_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def name_of(line):
    """The setting that a line of a configuration file sets; None for comments and empty lines."""
    match = re.match(r"\s*([a-z0-9._-]+)\s*=", line)
    return match[1] if match else None


def short(path):
    """The path as a person would type it here."""
    return min(path, os.path.relpath(path), key=len)


class Quickstart:
    def __init__(self, options):
        self.folder = os.path.abspath(options.dir)
        self.base = options.port_base
        self.bind = options.bind
        self.bin = os.path.abspath(options.bin)
        self.conf = f"{self.folder}/mailstead.conf"
        self.state = f"{self.folder}/state"
        self.settings = f"{self.state}/conf/settings.conf"
        self.log = f"{self.folder}/mailstead.log"
        self.credentials = f"{self.folder}/credentials.json"
        self.certificate = f"{self.folder}/certificate.pem"
        self.passwords = {}
        self.ports = {}
        self.lock = None
        self.process = None

    # --- the folder ---------------------------------------------------------------------------
    def prepare(self):
        if len(self.folder) > PATH_MAX:
            raise Failed(f"DIR={self.folder} is {len(self.folder)} characters long, at most "
                         f"{PATH_MAX} fit: try DIR=/tmp/mailstead")
        if any(c in self.folder for c in "\"\\\n"):
            raise Failed(f"DIR={self.folder}: no quotes, backslashes or line ends, please")
        for folder in (self.folder, self.state, os.path.dirname(self.settings)):
            os.makedirs(folder, exist_ok=True)
        os.chmod(self.folder, 0o700)
        self.lock = open(f"{self.folder}/.lock", "w", encoding="utf-8")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another quickstart runs in {self.folder}: stop it, or choose another "
                         "DIR= and PORT_BASE=") from None
        self.write_conf()
        self.write_settings()
        for account in json.loads(read_text(self.credentials) or "{}").get("accounts", []):
            self.passwords[account["address"]] = account["password"]

    def write_conf(self):
        """The three paths are ours, whatever else stands there is kept."""
        ours = {"paths.state": self.state, "paths.run": f"{self.folder}/run",
                "paths.libexec": self.bin}
        rest = [line for line in read_text(self.conf).splitlines()
                if name_of(line) not in ours]
        if not rest:
            rest = ["# Everything else stands in state/conf/settings.conf: change it in the web admin "
                    "or with", "# mailsteadctl set NAME VALUE. What stands here wins over it."]
        write_private(self.conf, "".join(f'{name} = "{value}"\n' for name, value in ours.items())
                      + "".join(f"{line}\n" for line in rest))

    def write_settings(self):
        """Ports follow PORT_BASE and BIND; while these stay, what the admin changed stays."""
        marker = f"{self.folder}/.port_base"
        lines = read_text(self.settings).splitlines()
        if not lines or read_text(marker) != f"{self.base} {self.bind}":
            ours = {"web.address": self.bind,
                    **{name: self.base + port for name, port in WEB.items()}}
            for name, port in LISTENERS.items():
                ours[f"listener.{name}.port"] = self.base + port
                ours[f"listener.{name}.address"] = self.bind
            if not lines:
                lines = ["# Written by mailstead. The administrator's file is mailstead.conf."]
                # Everybody here comes from one address.
                ours.update({"server.hostname": HOSTNAME,
                             "limits.connections_per_address": 2000,
                             "limits.connections_per_network": 4000})
            lines = [line for line in lines if name_of(line) not in ours]
            lines += [f'{name} = "{value}"' for name, value in ours.items()]
            write_private(self.settings, "".join(f"{line}\n" for line in lines))
            write_private(marker, f"{self.base} {self.bind}")
        # The administrator's file wins.
        known = {name_of(line): line.partition("=")[2].strip().strip('"')
                 for line in lines + read_text(self.conf).splitlines() if name_of(line)}
        self.ports = {name: int(known.get(f"listener.{name}.port", port))
                      for name, port in LISTENERS.items()}
        self.ports["http"] = int(known.get("web.http_port", WEB["web.http_port"]))
        self.ports["https"] = int(known.get("web.port", WEB["web.port"]))

    def export_certificate(self):
        """keyd made one at the first start: whoever connects can be told to trust it."""
        answer = self.ctl("cert", "export-chain", "default")
        if isinstance(answer, dict):
            raise Failed(f"no certificate: {answer['text']}")
        write_private(self.certificate, answer[0]["pem"])

    def fingerprint(self):
        der = ssl.PEM_cert_to_DER_cert(read_text(self.certificate))
        return hashlib.sha256(der).hexdigest()

    # --- the appliance ------------------------------------------------------------------------
    def check_ports(self):
        """A clear word before anything starts; whoever takes a port later is told by the log."""
        family, address = socket.AF_INET, self.bind
        if self.bind == "*":
            address = "0.0.0.0"
        elif ":" in self.bind:
            family = socket.AF_INET6
        for name, port in self.ports.items():
            if port == 0:
                continue
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((address, port))
                    probe.listen(1)
                except OSError as error:
                    raise Failed(f"port {port} ({name}) on {self.bind}: {error.strerror}. Stop "
                                 "what holds it, or choose other ports: make quickstart "
                                 "PORT_BASE=20000") from None

    def start(self):
        self.check_ports()
        libc = ctypes.CDLL(None)

        def end_with_us():
            libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

        with open(self.log, "ab") as log:
            # A session of its own: Ctrl-C reaches us alone, and we stop it in order.
            self.process = subprocess.Popen(
                [f"{self.bin}/mailsteadctl", "-c", self.conf, "run"], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=log, start_new_session=True,
                preexec_fn=end_with_us, env={**os.environ, "MAILSTEAD_ALLOW_ROOT": "1"})
        ready, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        line = self.process.stdout.readline() if ready else b""
        if line != b"mailstead is ready\n":
            raise Failed(f"mailstead did not start; {self.log} ends with:\n{self.log_end()}")

    def log_end(self):
        return "".join(f"  {line}\n" for line in read_text(self.log).splitlines()[-12:])

    def stop(self):
        if not self.process or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ctl(self, *words, secret=None):
        done = run(f"{self.bin}/mailsteadctl", "-c", self.conf, "--json", *words,
                   input=(secret + "\n").encode() if secret else b"", timeout=120)
        return json.loads(done.stdout or b'{"error": "no answer", "text": ""}')

    def make(self, *words, secret=None):
        """A verb that may find its work done already; true if it did something."""
        answer = self.ctl(*words, secret=secret)
        if isinstance(answer, dict) and answer.get("error"):
            if answer["error"] == "exists":
                return False
            raise Failed(f"mailsteadctl {' '.join(words)}: {answer['text']}")
        return True

    def make_accounts(self):
        self.export_certificate()
        self.make("domain", "add", DOMAIN)
        for address, option in ((ADMIN, ["--admin"]), (ALICE, [])):
            is_known = address in self.passwords
            password = self.passwords.setdefault(address, secrets.token_urlsafe(15))
            self.write_credentials()
            is_new = self.make("account", "add", address, *option, "--password-stdin",
                               secret=password)
            # A lost credentials.json, or a password that was changed since: ours holds again.
            if not is_new and not (is_known and (address == ADMIN or self.is_password(address))):
                self.set_password(address)

    def set_password(self, address):
        self.make("account", "password", address, "--password-stdin",
                  secret=self.passwords[address])

    def is_password(self, address):
        try:
            self.pop3(address).quit()
            return True
        except poplib.error_proto:
            return False

    def url(self, listener="https"):
        return f"https://localhost:{self.ports[listener]}/"

    def write_credentials(self):
        accounts = [{"address": address, "password": password, "admin": address == ADMIN}
                    for address, password in self.passwords.items()]
        write_private(self.credentials, json.dumps({
            "domain": DOMAIN,
            "hostname": HOSTNAME,
            "host": self.host(),
            "accounts": accounts,
            "ports": self.ports,
            "admin": {"url": self.url(), "address": ADMIN,
                      "password": self.passwords.get(ADMIN)},
            "certificate": {"file": self.certificate, "sha256": self.fingerprint()},
            "conf": self.conf,
            "mailsteadctl": f"{self.bin}/mailsteadctl",
        }, indent=1) + "\n")

    # --- the proof ----------------------------------------------------------------------------
    def host(self):
        return "127.0.0.1" if self.bind in ("*", "0.0.0.0") else self.bind

    def tls(self):
        """Our own certificate is trusted and nothing else."""
        return ssl.create_default_context(cafile=self.certificate)

    def pop3(self, address):
        session = poplib.POP3_SSL(self.host(), self.ports["pop3s"], timeout=PROOF_SECONDS,
                                  context=self.tls())
        session.user(address)
        session.pass_(self.passwords[address])
        return session

    @staticmethod
    def message(sender, subject):
        """What is easily damaged on the way: 8-bit text, dots, spaces at line ends, no last newline."""
        message_id = email.utils.make_msgid(domain=sender.split("@")[1])
        text = (f"From: {sender}\r\nTo: {ALICE}\r\nSubject: {subject}\r\n"
                f"Date: {email.utils.formatdate(localtime=True)}\r\nMessage-ID: {message_id}\r\n"
                "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
                "Content-Transfer-Encoding: 8bit\r\n\r\n"
                "Grüße aus dem Gewächshaus.\r\n.\r\n..two dots\r\ntrailing spaces  \r\n\r\n"
                f"{'long line ' * 80}\r\n-- \r\nend\r\n")
        return message_id, text.encode()

    def send_smtp(self, data):
        with smtplib.SMTP(self.host(), self.ports["smtp"], timeout=PROOF_SECONDS) as session:
            session.sendmail("stranger@elsewhere.test", [ALICE], data, ["BODY=8BITMIME"])

    def send_submission(self, data):
        with smtplib.SMTP(self.host(), self.ports["submission"], timeout=PROOF_SECONDS) as session:
            session.starttls(context=self.tls())
            session.login(ALICE, self.passwords[ALICE])
            session.sendmail(ALICE, [ALICE], data, ["BODY=8BITMIME"])

    def read_imap(self, message_id):
        """The message as IMAP gives it, None while it is not there."""
        session = imaplib.IMAP4(self.host(), self.ports["imap"], timeout=PROOF_SECONDS)
        session.starttls(self.tls())
        session.login(ALICE, self.passwords[ALICE])
        try:
            session.select("INBOX", readonly=True)
            _, found = session.uid("SEARCH", "HEADER", "Message-ID", message_id)
            uids = (found[0] or b"").split()
            if not uids:
                return None
            _, parts = session.uid("FETCH", uids[-1].decode(), "(BODY.PEEK[])")
            return parts[0][1]
        finally:
            session.logout()

    def read_pop3(self, message_id):
        session = self.pop3(ALICE)
        try:
            count, _ = session.stat()
            for number in range(count, max(0, count - 50), -1):
                data = b"\r\n".join(session.retr(number)[1]) + b"\r\n"
                if message_id.encode() in data:
                    return data
            return None
        finally:
            session.quit()

    def expect(self, what, read, sent):
        """Polls until read() has the message, and compares it with what was sent."""
        end = time.monotonic() + PROOF_SECONDS
        while (got := read()) is None:
            if time.monotonic() > end:
                raise Failed(f"{what}: the message did not arrive within {PROOF_SECONDS} s; "
                             f"{self.log} ends with:\n{self.log_end()}")
            time.sleep(0.05)
        trace = got[:len(got) - len(sent)]
        names = re.findall(rb"(?m)^([!-9;-~]+):", trace)
        if not got.endswith(sent) or not set(names) <= {b"Return-Path", b"Received",
                                                        b"Delivered-To"}:
            raise Failed(f"{what}: what came back differs from what was sent:\n{got!r}\n{sent!r}")

    def prove(self):
        by_smtp, smtp_data = self.message("stranger@elsewhere.test", "By SMTP on port 25")
        by_submission, submission_data = self.message(ALICE, "By submission")
        steps = (
            (f"SMTP, port {self.ports['smtp']}: one message from a stranger to {ALICE}",
             lambda what: self.send_smtp(smtp_data)),
            (f"submission, port {self.ports['submission']}: one message with STARTTLS and AUTH",
             lambda what: self.send_submission(submission_data)),
            (f"IMAP, port {self.ports['imap']}: both are there, byte for byte",
             lambda what: [self.expect(what, lambda m=m: self.read_imap(m), data) for m, data in
                           ((by_smtp, smtp_data), (by_submission, submission_data))]),
            (f"POP3, port {self.ports['pop3s']}: both are there, byte for byte",
             lambda what: [self.expect(what, lambda m=m: self.read_pop3(m), data) for m, data in
                           ((by_smtp, smtp_data), (by_submission, submission_data))]),
            (f"web admin, port {self.ports['https']}: signed in, {ALICE} is listed",
             lambda what: self.prove_web()),
        )
        for what, step in steps:
            try:
                step(what)
            except (OSError, smtplib.SMTPException, imaplib.IMAP4.error, poplib.error_proto,
                    http.client.HTTPException) as error:
                raise Failed(f"{what}: {error}; {self.log} ends with:\n{self.log_end()}") from error
            print(f"  proven: {what}", flush=True)

    def ask_web(self, method, path, cookie="", form=None):
        session = http.client.HTTPSConnection(self.host(), self.ports["https"],
                                              timeout=PROOF_SECONDS, context=self.tls())
        headers = {"Cookie": cookie} if cookie else {}
        body = None
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urllib.parse.urlencode(form)
        session.request(method, path, body, headers)
        answer = session.getresponse()
        text = answer.read().decode()
        session.close()
        return answer, text

    def ask_web_first(self):
        """lighttpd needs a moment more than the other programs."""
        end = time.monotonic() + PROOF_SECONDS
        while True:
            try:
                return self.ask_web("GET", "/login")
            except ConnectionRefusedError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def sign_in(self):
        """The session's cookie, or "" if the password is not right."""
        answer, text = self.ask_web_first()
        csrf = re.search(r'name="csrf" value="([^"]*)"', text)
        if answer.status != 200 or not csrf:
            raise Failed(f"the web admin's login page: status {answer.status}")
        answer, _ = self.ask_web("POST", "/login", form={
            "csrf": csrf[1], "address": ADMIN, "password": self.passwords[ADMIN]})
        return (answer.getheader("Set-Cookie") or "").split(";")[0] if answer.status == 303 else ""

    def prove_web(self):
        cookie = self.sign_in()
        if not cookie:
            self.set_password(ADMIN)
            cookie = self.sign_in()
        if not cookie:
            raise Failed(f"the web admin did not let {ADMIN} in")
        answer, text = self.ask_web("GET", "/accounts", cookie)
        if answer.status != 200 or ALICE not in html.unescape(text):
            raise Failed(f"the web admin does not list {ALICE}: status {answer.status}")

    # --- for people ---------------------------------------------------------------------------
    def explain(self):
        ctl = f"{short(self.bin)}/mailsteadctl -c {short(self.conf)}"
        where = "this machine only; BIND='*' opens it to others" \
            if self.host() in ("127.0.0.1", "::1") and self.bind != "*" else "every address"
        print(f"""
mailstead's folder is {self.folder}. Settings for a mail program ({where}):

  account        {ALICE}
  password       {self.passwords[ALICE]}
  server         localhost
  IMAP           port {self.ports['imaps']} with TLS, or {self.ports['imap']} with STARTTLS
  POP3           port {self.ports['pop3s']} with TLS, or {self.ports['pop3']} with STARTTLS
  sending        port {self.ports['submissions']} with TLS, or {self.ports['submission']} with STARTTLS
  certificate    self-signed, SHA-256 {self.fingerprint()}

  web admin      {self.url()}
  signs in as    {ADMIN}
  password       {self.passwords[ADMIN]}

  accounts, ports and passwords for programs: {short(self.credentials)}
  log: {short(self.log)}
  commands: {ctl} account add bob@{DOMAIN} --password-stdin
            {ctl} help
""", flush=True)

    def stay(self):
        print("Ctrl-C stops it.", flush=True)
        status = self.process.wait()
        raise Failed(f"mailstead ended by itself (status {status}); {self.log} ends with:\n"
                     f"{self.log_end()}")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--dir", default="run")
    parser.add_argument("--port-base", type=int, default=10000)
    parser.add_argument("--bind", default="127.0.0.1", help="an address, or * for all")
    parser.add_argument("--bin", default="build/bin", help="folder of the built programs")
    parser.add_argument("--oneshot", action="store_true")
    options = parser.parse_args()
    if not 0 <= options.port_base <= 65535 - max(LISTENERS.values()):
        parser.error(f"--port-base {options.port_base}: expected 0 to "
                     f"{65535 - max(LISTENERS.values())}")
    return options


def main():
    options = parse_options()
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGHUP, on_signal)
    os.umask(0o077)
    quickstart = Quickstart(options)
    status = 0
    try:
        quickstart.prepare()
        quickstart.start()
        quickstart.make_accounts()
        quickstart.prove()
        quickstart.explain()
        if options.oneshot:
            print("Everything is proven; stopping (ONESHOT).", flush=True)
        else:
            quickstart.stay()
    except Failed as failed:
        print(f"quickstart: {failed}", file=sys.stderr)
        status = 1
    except (OSError, smtplib.SMTPException, imaplib.IMAP4.error, poplib.error_proto) as error:
        # ssl's errors are among them: a certificate that names another host, for one.
        print(f"quickstart: {error}", file=sys.stderr)
        status = 1
    except Stopped:
        print("\nstopping ...", flush=True)
        # Stopped before everything was proven is not a success.
        status = 1 if options.oneshot else 0
    finally:
        for signo in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signo, signal.SIG_IGN)
        quickstart.stop()
    sys.exit(status)


if __name__ == "__main__":
    main()
