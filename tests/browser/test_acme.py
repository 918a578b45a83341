"""Certificates by ACME: Debian's uacme against Debian's pebble, through our own web server."""
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile

import pytest

from appliance import PASSWORD, Appliance, free_ports, tls_context
from web import Browser

ADMIN = "root@example.test"
NAME = "mail.example.test"


class Pebble:
    """An authority on loopback, whose own certificate is signed by one that nobody knows."""

    def __init__(self, http_port):
        self.folder = tempfile.mkdtemp(prefix="mailstead-pebble-")
        os.chmod(self.folder, 0o755)
        self.port, self.manage, tls, dns, self.dns_manage = free_ports(5)
        self.url = f"https://localhost:{self.port}/dir"
        self.ca = f"{self.folder}/ca.pem"
        self.make_certificate()
        with open(f"{self.folder}/config.json", "w", encoding="ascii") as f:
            json.dump({"pebble": {
                "listenAddress": f"127.0.0.1:{self.port}",
                "managementListenAddress": f"127.0.0.1:{self.manage}",
                "certificate": f"{self.folder}/own.pem", "privateKey": f"{self.folder}/own.key",
                "httpPort": http_port, "tlsPort": tls, "ocspResponderURL": "",
                "externalAccountBindingRequired": False}}, f)
        self.names = self.run("pebble-challtestsrv", "-http01", "", "-https01", "", "-tlsalpn01", "",
                              "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "",
                              "-dns01", f"127.0.0.1:{dns}",
                              "-management", f"127.0.0.1:{self.dns_manage}")
        self.process = self.run("pebble", "-config", f"{self.folder}/config.json",
                                "-dnsserver", f"127.0.0.1:{dns}")

    def make_certificate(self):
        ca, own = f"{self.folder}/ca", f"{self.folder}/own"
        for args in (["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                      "-nodes", "-days", "9", "-subj", "/CN=Test CA", "-keyout", f"{ca}.key",
                      "-out", f"{ca}.pem"],
                     ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                      "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                      "-keyout", f"{own}.key", "-out", f"{own}.csr"],
                     ["x509", "-req", "-in", f"{own}.csr", "-CA", f"{ca}.pem", "-CAkey",
                      f"{ca}.key", "-CAcreateserial", "-days", "9", "-copy_extensions", "copy",
                      "-out", f"{own}.pem"]):
            subprocess.run(["openssl", *args], check=True, capture_output=True)

    def run(self, *command):
        with open(f"{self.folder}/log", "ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder,
                                    env={**os.environ, "PEBBLE_VA_NOSLEEP": "1",
                                         "PEBBLE_WFE_NONCEREJECT": "0"})

    def is_up(self):
        for process in (self.process, self.names):
            assert process.poll() is None, self.log()
        for port in (self.port, self.dns_manage):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            except ConnectionRefusedError:
                return False
        return True

    def log(self):
        with open(f"{self.folder}/log", encoding="utf-8") as f:
            return f.read()

    def close(self):
        for process in (self.process, self.names):
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def world():
    port, http = free_ports(2)
    pebble = Pebble(http)
    try:
        settings = {"web.port": str(port), "web.http_port": str(http)}
        with Appliance(settings=settings, accounts=()) as server:
            server.ctl("domain", "add", "example.test")
            server.ctl("account", "add", ADMIN, "--admin", "--password-stdin", secret=PASSWORD)
            server.web_port, server.http_port = port, http
            server.wait_for(pebble.is_up)
            yield server, pebble
    finally:
        pebble.close()


def served(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        with tls_context().wrap_socket(sock, server_hostname=NAME) as tls:
            return hashlib.sha256(tls.getpeercert(True)).hexdigest()


def entry(server, name="default"):
    rows = [r for r in server.ctl("cert", "acme", "list") if r["id"] == name]
    return rows[0] if rows else None


def ended(server, name="default"):
    return server.wait_for(lambda: (e := entry(server, name)) and
                           e["state"] in ("ok", "failed") and e, seconds=120)


def names_of(server, name):
    return [c for c in server.ctl("cert", "list") if c["id"] == name][0]


def test_an_authority_that_cannot_be_trusted_is_named(world):
    server, pebble = world
    server.ctl("set", "acme.url", pebble.url)
    with pytest.raises(AssertionError):
        server.ctl("cert", "acme", "issue", "default", NAME)
    assert not server.ctl("cert", "acme", "list")  # nobody agreed to the terms
    server.ctl("cert", "acme", "issue", "default", NAME, "--agree")
    row = ended(server)
    assert row["state"] == "failed" and row["failures"] == 1, row
    assert row["next"] >= row["last"] + 3600
    browser = Browser(server.web_port)
    page = browser.sign_in(ADMIN, PASSWORD)
    assert "It works, but something needs attention." in page.text and row["text"] in page.text
    # Nothing of the attempt stands in the way of the next.
    assert not names_of(server, "default")["pending"]
    server.ctl("cert", "acme", "stop", "default")


def test_http_01_by_the_page(world):
    server, pebble = world
    server.ctl("set", "acme.ca_file", pebble.ca)
    before = served(server.ports["imaps"])
    browser = Browser(server.web_port)
    browser.sign_in(ADMIN, PASSWORD)
    browser.open("/certificates")
    page = browser.submit("/certificates/do", having={"verb": "acme"}, names=NAME, agree="yes")
    assert page.status == 200, page.text
    row = ended(server)
    assert row["state"] == "ok", (row, server.log_text()[-3000:])
    assert "pebble" in str(server.ctl("cert", "show", "default")).lower()
    server.wait_for(lambda: served(server.ports["imaps"]) != before)
    page = browser.open("/certificates")
    assert "installed" in page.text
    # The challenge's answer is gone, and nothing else lies there.
    assert not os.listdir(f"{server.folder}/run/acme/challenge")
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=30) as sock:
        sock.sendall(b"GET /.well-known/acme-challenge/ HTTP/1.0\r\n\r\n")
        assert sock.recv(1000).split(b" ")[1] in (b"403", b"404")


def test_it_is_renewed_when_its_days_run_out(world):
    server, _ = world
    port = server.ports["imaps"]
    before = served(port)

    def look_again():
        """A process that starts looks at once; the book says when: make it due."""
        server.stop()
        path = f"{server.state}/acme/default"
        with open(path, "rb") as f:
            text = f.read()
        at = text.index(b"next") + 5
        assert text[at:at + 8] == struct.pack(">Q", row["next"]), text
        with open(path, "wb") as f:
            f.write(text[:at] + bytes(8) + text[at + 8:])
        server.start()

    row = entry(server)
    look_again()
    server.wait_for(lambda: entry(server)["next"] > 0)
    assert served(port) == before  # good for years
    row = entry(server)
    server.ctl("set", "acme.renew_days", "3650")
    look_again()
    server.wait_for(lambda: entry(server)["next"] > 0, seconds=120)
    assert entry(server)["state"] == "ok", entry(server)["text"]
    server.wait_for(lambda: served(port) != before)


def test_an_address_is_no_option_of_the_client(world):
    server, _ = world
    folder = f"{server.folder}/run/acme/challenge"
    server.ctl("set", "acme.email", f"--confdir={folder}")
    server.ctl("cert", "acme", "issue", "option", NAME, "--agree")
    ended(server, "option")
    assert not os.path.exists(f"{folder}/private")
    server.ctl("cert", "acme", "stop", "option")
    server.ctl("unset", "acme.email")


def test_dns_01_by_a_program(world):
    server, pebble = world
    hook = f"{server.folder}/etc/hook"
    with open(hook, "w", encoding="ascii") as f:
        f.write(f"""#!/bin/sh
[ "$2" = dns-01 ] || exit 1
case $1 in
begin) verb=set-txt data="{{\\"host\\":\\"_acme-challenge.$3.\\",\\"value\\":\\"$5\\"}}" ;;
*) verb=clear-txt data="{{\\"host\\":\\"_acme-challenge.$3.\\"}}" ;;
esac
exec /usr/bin/curl -sf -d "$data" http://127.0.0.1:{pebble.dns_manage}/$verb
""")
    os.chmod(hook, 0o755)
    server.ctl("set", "acme.hook", hook)
    server.ctl("cert", "acme", "issue", "wild", "*.example.test", "--agree")
    row = ended(server, "wild")
    assert row["state"] == "ok", (row, server.log_text()[-3000:])
    assert names_of(server, "wild")["names"] == "*.example.test"
    # Its key was made by keyd and stays there.
    found = subprocess.run(["grep", "-rl", "PRIVATE KEY", f"{server.folder}/state/acme"],
                           stdout=subprocess.PIPE, text=True, check=False).stdout.split()
    assert all(p.endswith("/acme/client/private/key.pem") for p in found), found
