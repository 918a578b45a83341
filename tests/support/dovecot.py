"""A Dovecot of its own in a folder of its own, on a port that the kernel picked: the peer that
answers are compared with. Debian's system service is never touched."""
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time

from appliance import free_ports

PEER_USER = "peer"
PEER_PASSWORD = "peer"

CONF = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
first_valid_uid = 0
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {login}
mail_location = {location}
mail_uid = {uid}
mail_gid = {gid}
mailbox_list_index = yes
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/home
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
{more}
"""


class Dovecot:
    """with Dovecot() as d: d.connect()"""

    def __init__(self, location="maildir:~/mail", more=""):
        self.folder = tempfile.mkdtemp(prefix="dovecot-")
        os.chmod(self.folder, 0o755)
        self.location = location
        self.more = more
        self.port = None
        self.process = None

    def __enter__(self):
        for attempt in range(5):
            self.port = free_ports(1)[0]
            if self.start():
                return self
        raise RuntimeError(self.log_text())

    def __exit__(self, *args):
        if self.process:
            self.process.terminate()
            self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_text(self):
        try:
            with open(f"{self.folder}/log", encoding="utf-8", errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return "no log"

    def start(self):
        me = pwd.getpwuid(os.getuid())
        # Dovecot lets neither its login processes nor the owner of mail be root.
        owner = pwd.getpwnam("nobody") if me.pw_uid == 0 else me
        os.makedirs(f"{self.folder}/home", exist_ok=True)
        os.chown(f"{self.folder}/home", owner.pw_uid, owner.pw_gid)
        with open(f"{self.folder}/conf", "w", encoding="utf-8") as conf:
            conf.write(CONF.format(
                folder=self.folder, user=me.pw_name, login=owner.pw_name, location=self.location,
                group=subprocess.run(["id", "-gn"], check=True, capture_output=True,
                                     text=True).stdout.strip(),
                uid=owner.pw_uid, gid=owner.pw_gid, port=self.port, password=PEER_PASSWORD,
                more=self.more))
        self.process = subprocess.Popen(
            ["/usr/sbin/dovecot", "-F", "-c", f"{self.folder}/conf"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=open(f"{self.folder}/log", "ab"))
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if self.process.poll() is not None:
                return False
            try:
                with self.connect() as sock:
                    if sock.recv(100):
                        return True
            except OSError:
                pass
            time.sleep(0.02)
        return False

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)
