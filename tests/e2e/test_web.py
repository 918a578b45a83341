"""The web admin behind the real lighttpd: where it listens, and that nothing else is served."""
import socket
import subprocess

import pytest

from appliance import BIN, Appliance, PASSWORD, free_ports
from web import Browser

ADMIN = "root@example.test"


@pytest.fixture(scope="module")
def web():
    for attempt in range(5):
        https, plain = free_ports(2)
        appliance = Appliance(settings={"web.port": str(https), "web.http_port": str(plain),
                                        "web.address": "127.0.0.1"})
        try:
            appliance.__enter__()
            break
        except RuntimeError:
            if attempt == 4:
                raise
    try:
        appliance.ctl("account", "add", ADMIN, "--admin", "--password-stdin", secret=PASSWORD)
        appliance.wait_for(lambda: is_open(https))
        yield Browser(https), appliance, plain
    finally:
        appliance.__exit__(None, None, None)


def is_open(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    except ConnectionRefusedError:
        return False


def raw(port, request):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(request)
        answer = b""
        while data := sock.recv(65536):
            answer += data
        return answer


def test_plain_http_only_sends_on_to_https(web):
    browser, _, plain = web
    target = f"https://127.0.0.1:{browser.port}".encode()
    answer = raw(plain, b"GET /accounts?x=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                 b"Connection: close\r\n\r\n" % plain)
    assert answer.startswith(b"HTTP/1.1 301 ")
    assert b"\r\nLocation: " + target + b"/accounts?x=1\r\n" in answer
    for path in (b"/lighttpd.conf", b"/../run/lighttpd.conf", b"/cgi/authd"):
        answer = raw(plain, b"GET " + path + b" HTTP/1.0\r\n\r\n")
        assert answer.split(b" ")[1] in (b"301", b"400"), answer
        assert b"ssl.privkey" not in answer


@pytest.mark.parametrize("path", ["/cgi/authd", "/cgi/../lighttpd.conf", "/webadmin/../authd",
                                  "/%2e%2e/authd", "/lighttpd.conf"])
def test_nothing_but_the_admin_is_served(web, path):
    browser, _, _ = web
    browser.sign_in(ADMIN, PASSWORD)
    assert browser.request("GET", path).status in (400, 403, 404)


def test_strange_requests(web):
    browser, _, _ = web
    browser.sign_in(ADMIN, PASSWORD)
    assert browser.request("DELETE", "/accounts").status == 405
    assert browser.request("POST", "/login", b"x=" + b"y" * 70000, {
        "Content-Type": "application/x-www-form-urlencoded"}).status == 413


def test_a_taken_port_is_named_at_the_start(web):
    browser, appliance, _ = web
    done = subprocess.run([f"{BIN}/web-server", "-c", appliance.conf], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"127.0.0.1 port {browser.port}: Address already in use" in done.stdout
