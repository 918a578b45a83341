"""A zone that DNSSEC signs (dnssec-signzone), served by Knot as one's own process."""
import glob
import os
import socket
import subprocess
import time


def free_port():
    """For UDP and TCP alike."""
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(tcp.getsockname())
        return tcp.getsockname()[1]


class SignedZone:
    """records: lines of the zone "test", with "plain.test" below it, which is not signed. forged:
    (what, instead) changed behind the signatures."""

    def __init__(self, folder, records, plain, forged=()):
        self.folder = folder
        head = "$TTL 60\n@ SOA ns.test. root.test. 1 3600 600 86400 60\n@ NS ns.test.\n"
        self.write("test.zone", "$ORIGIN test.\n" + head + "ns A 127.0.0.1\nplain NS ns.test.\n" +
                   "\n".join(records) + "\n")
        self.write("plain.zone", "$ORIGIN plain.test.\n" + head + "\n".join(plain) + "\n")
        for flags in (["-f", "KSK"], []):
            self.run("dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", *flags, "test")
        self.run("dnssec-signzone", "-q", "-S", "-O", "full", "-o", "test", "test.zone")
        with open(self.path("test.zone.signed")) as f:
            text = f.read()
        for what, instead in forged:
            assert what in text
            text = text.replace(what, instead)
        self.write("test.zone.signed", text)
        for name in glob.glob(self.path("Ktest.*.key")):
            with open(name) as f:
                key = f.read()
            if " 257 " in key:
                self.write("anchor.key", key)
        self.anchor = self.path("anchor.key")
        self.start()

    def start(self):
        port = free_port()
        self.address = f"127.0.0.1@{port}"
        self.write("knot.conf", f"""server:
  rundir: {self.folder}
  listen: {self.address}
database:
  storage: {self.folder}/db
log:
  - target: stderr
    any: info
zone:
  - domain: test
    file: {self.folder}/test.zone.signed
  - domain: plain.test
    file: {self.folder}/plain.zone
""")
        self.log = open(self.path("knot.log"), "wb")
        self.process = subprocess.Popen(["/usr/sbin/knotd", "-c", self.path("knot.conf")],
                                        stdout=self.log, stderr=self.log)
        until = time.monotonic() + 20
        while "server started" not in self.log_text():
            assert self.process.poll() is None and time.monotonic() < until, self.log_text()
            time.sleep(0.02)

    def log_text(self):
        with open(self.path("knot.log")) as f:
            return f.read()

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()

    def run(self, *args):
        subprocess.run(args, cwd=self.folder, check=True, stdout=subprocess.DEVNULL, timeout=60)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)
