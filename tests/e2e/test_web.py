"""The web admin behind the real lighttpd: where it listens, signing in, and what its pages do."""
import html
import http.client
import re
import socket
import subprocess
import urllib.parse

import pytest

from appliance import BIN, Appliance, PASSWORD, free_ports, tls_context

ADMIN = "root@example.test"
BOB = "bob@example.test"


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
        yield Browser(https, plain), appliance
    finally:
        appliance.__exit__(None, None, None)


def is_open(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    except ConnectionRefusedError:
        return False


class Browser:
    """Keeps one cookie, knows the form token of the page it saw last."""

    def __init__(self, https, plain):
        self.https, self.plain = https, plain
        self.cookie = self.csrf = ""

    def ask(self, method, path, form=None, headers=()):
        session = http.client.HTTPSConnection("127.0.0.1", self.https, timeout=60,
                                              context=tls_context())
        sent = dict(headers)
        if self.cookie:
            sent["Cookie"] = self.cookie
        body = None
        if form is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
            body = urllib.parse.urlencode(form)
        session.request(method, path, body, sent)
        answer = session.getresponse()
        text = answer.read().decode()
        session.close()
        cookie = answer.getheader("Set-Cookie")
        if cookie:
            self.cookie = cookie.split(";")[0]
        found = re.search(r'name="csrf" value="([^"]*)"', text)
        if found:
            self.csrf = found[1]
        return answer, html.unescape(text)

    def post(self, path, **form):
        return self.ask("POST", path, {"csrf": self.csrf, **form})[0].status

    def sign_in(self, address=ADMIN, password=PASSWORD):
        self.cookie = ""
        self.ask("GET", "/login")
        return self.post("/login", address=address, password=password)


def raw(port, request):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(request)
        answer = b""
        while data := sock.recv(65536):
            answer += data
        return answer


def test_pages_want_a_login(web):
    browser, _ = web
    browser.cookie = ""
    for path in ("/", "/accounts", "/domains", "/aliases", "/ports", "/queue"):
        answer, _ = browser.ask("GET", path)
        assert (answer.status, answer.getheader("Location")) == (303, "/login"), path


def test_wrong_password(web):
    browser, _ = web
    assert browser.sign_in(password="wrong password") == 403
    assert browser.ask("GET", "/accounts")[0].status == 303


def test_every_page_opens_after_login(web):
    browser, _ = web
    assert browser.sign_in() == 303
    for path in ("/", "/accounts", "/domains", "/aliases", "/ports", "/queue", "/password"):
        answer, text = browser.ask("GET", path)
        assert answer.status == 200 and "<h1>" in text, path
        assert "default-src 'none'" in answer.getheader("Content-Security-Policy")
    assert browser.ask("GET", "/nope")[0].status == 404
    assert BOB in browser.ask("GET", "/accounts")[1]


def test_an_account_made_in_the_browser_exists(web):
    browser, appliance = web
    assert browser.sign_in() == 303
    browser.ask("GET", "/accounts")
    assert browser.post("/accounts/add", name="carol@example.test", password=PASSWORD) == 303
    assert appliance.ctl("account", "show", "carol@example.test")[0]["state"] == "active"
    browser.ask("GET", "/accounts")
    assert browser.post("/accounts/remove", name="carol@example.test") == 303
    assert "carol@" not in browser.ask("GET", "/accounts")[1]


def test_a_form_without_its_token_changes_nothing(web):
    browser, appliance = web
    assert browser.sign_in() == 303
    browser.csrf = "0" * 16
    assert browser.post("/domains/add", name="evil.test") == 403
    assert [d["domain"] for d in appliance.ctl("domain", "list")] == ["example.test"]


def test_a_user_is_no_administrator(web):
    browser, appliance = web
    browser.sign_in(BOB)
    browser.ask("GET", "/accounts")
    browser.ask("GET", "/password")
    browser.post("/domains/add", name="evil.test")
    assert [d["domain"] for d in appliance.ctl("domain", "list")] == ["example.test"]


def test_signing_out_ends_the_session(web):
    browser, _ = web
    assert browser.sign_in() == 303
    browser.ask("GET", "/")
    cookie = browser.cookie
    assert browser.post("/logout") == 303
    browser.cookie = cookie
    assert browser.ask("GET", "/accounts")[0].status == 303


def test_plain_http_only_sends_on_to_https(web):
    browser, _ = web
    target = f"https://127.0.0.1:{browser.https}".encode()
    answer = raw(browser.plain, b"GET /accounts?x=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                 b"Connection: close\r\n\r\n" % browser.plain)
    assert answer.startswith(b"HTTP/1.1 301 ")
    assert b"\r\nLocation: " + target + b"/accounts?x=1\r\n" in answer
    for path in (b"/lighttpd.conf", b"/../run/lighttpd.conf", b"/cgi/authd"):
        answer = raw(browser.plain, b"GET " + path + b" HTTP/1.0\r\n\r\n")
        assert answer.split(b" ")[1] in (b"301", b"400"), answer
        assert b"ssl.privkey" not in answer


@pytest.mark.parametrize("path", ["/cgi/authd", "/cgi/../lighttpd.conf", "/webadmin/../authd",
                                  "/%2e%2e/authd", "/lighttpd.conf"])
def test_nothing_but_the_admin_is_served(web, path):
    browser, _ = web
    assert browser.sign_in() == 303
    assert browser.ask("GET", path)[0].status in (400, 403, 404)


def test_strange_requests(web):
    browser, _ = web
    assert browser.sign_in() == 303
    assert browser.ask("DELETE", "/accounts")[0].status == 405
    assert browser.ask("POST", "/login", {"x": "y" * 70000})[0].status == 413


def test_a_taken_port_is_named_at_the_start(web):
    browser, appliance = web
    done = subprocess.run([f"{BIN}/web-server", "-c", appliance.conf], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"127.0.0.1 port {browser.https}: Address already in use" in done.stdout
