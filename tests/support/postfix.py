"""A Postfix with Dovecot's LMTP behind it, both of one's own in a folder of one's own, on ports that
the kernel picked: the peer that speeds are compared with. Needs root and Debian's packages; the
system's own services are never touched."""
import grp
import os
import pwd
import shutil
import smtplib
import subprocess
import tempfile
import time

from appliance import free_ports
from dovecot import Dovecot

MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.example.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = example.test
virtual_mailbox_maps = static:yes
virtual_transport = lmtp:unix:{dovecot}/lmtp
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
lmtp_destination_recipient_limit = 1
smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_client_connection_count_limit = 0
smtpd_tls_cert_file = {folder}/cert.pem
smtpd_tls_key_file = {folder}/key.pem
smtpd_tls_security_level = may
smtpd_sasl_type = dovecot
smtpd_sasl_path = {dovecot}/sasl
smtpd_sasl_auth_enable = yes
smtpd_tls_session_cache_database =
message_size_limit = 52428800
mailbox_size_limit = 0
virtual_mailbox_limit = 0
default_process_limit = 100
"""

MASTER = """
127.0.0.1:{smtp} inet n - n - 1100 smtpd
127.0.0.1:{smtps} inet n - n - 1100 smtpd
  -o smtpd_tls_wrappermode=yes
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

DOVECOT = """
protocols = imap lmtp pop3
service lmtp {{
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
}}
service auth {{
  client_limit = 4096
  unix_listener {folder}/sasl {{
    mode = 0666
  }}
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = 0
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
auth_username_format = %Ln
mail_fsync = optimized
"""


class Peer:
    """with Peer() as p: p.ports["smtp"], p.ports["submissions"], p.dovecot.port (IMAP). main and
    master go behind the files of these names; files: others beside them."""

    def __init__(self, location="maildir:~/mail", main="", master="", files=None):
        self.main, self.master, self.files = main, master, files or {}
        self.folder = tempfile.mkdtemp(prefix="postfix-")
        os.chmod(self.folder, 0o755)
        self.location = location
        self.dovecot = None
        self.ports = {}

    def __enter__(self):
        socket_folder = f"{self.folder}/dovecot"
        os.mkdir(socket_folder)
        os.chmod(socket_folder, 0o755)
        self.dovecot = Dovecot(self.location, DOVECOT.format(folder=socket_folder)).__enter__()
        self.make_folders()
        self.ports = dict(zip(("smtp", "submissions"), free_ports(2)))
        with open(f"{self.folder}/etc/main.cf", "w", encoding="ascii") as main:
            main.write(MAIN.format(folder=self.folder, dovecot=socket_folder) + self.main)
        with open(f"{self.folder}/etc/master.cf", "w", encoding="ascii") as master:
            master.write(MASTER.format(smtp=self.ports["smtp"],
                                       smtps=self.ports["submissions"]) + self.master)
        for name, text in self.files.items():
            with open(f"{self.folder}/etc/{name}", "w", encoding="ascii") as file:
                file.write(text)
        self.postfix("start")
        end = time.monotonic() + 30
        while True:
            try:
                smtplib.SMTP("127.0.0.1", self.ports["smtp"], timeout=10).quit()
                return self
            except OSError:
                if time.monotonic() > end:
                    raise RuntimeError(self.log_text()) from None
                time.sleep(0.05)

    def make_folders(self):
        owner, drop = pwd.getpwnam("postfix"), grp.getgrnam("postdrop")
        os.mkdir(f"{self.folder}/etc")
        os.mkdir(f"{self.folder}/data")
        os.chown(f"{self.folder}/data", owner.pw_uid, -1)
        os.mkdir(f"{self.folder}/spool")
        for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold",
                     "incoming", "private", "saved", "trace", "maildrop", "public", "pid"):
            os.mkdir(f"{self.folder}/spool/{name}")
            if name != "pid":
                os.chown(f"{self.folder}/spool/{name}", owner.pw_uid,
                         drop.gr_gid if name in ("maildrop", "public") else -1)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
             "/CN=mail.example.test", "-keyout", f"{self.folder}/key.pem", "-out",
             f"{self.folder}/cert.pem"], check=True, capture_output=True)

    def postfix(self, command):
        subprocess.run(["postfix", "-c", f"{self.folder}/etc", command], check=True,
                       capture_output=True, env={**os.environ, "MAIL_LOGTAG": "postfix-peer"})

    def __exit__(self, *args):
        try:
            self.postfix("stop")
        finally:
            self.dovecot.__exit__(*args)
            shutil.rmtree(self.folder, ignore_errors=True)

    def log_text(self):
        try:
            with open(f"{self.folder}/log", encoding="utf-8", errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return "no log"
