"""The web admin behind the real lighttpd: where it listens, and that nothing else is served."""
import os
import signal
import socket
import ssl
import time
import subprocess

import pytest

from appliance import BIN, Appliance, PASSWORD, free_ports
from web import Browser

ADMIN = "root@example.test"


@pytest.fixture(scope="module")
def web():
    for attempt in range(5):
        https, plain = free_ports(2)
        appliance = Appliance()
        for name in ("web.port", "web.http_port"):  # what the file says cannot be set
            del appliance.settings[name]
        os.makedirs(f"{appliance.state}/conf")
        with open(f"{appliance.state}/conf/settings.conf", "w", encoding="ascii") as settings:
            settings.write(f"web.port = {https}\nweb.http_port = {plain}\n"
                           "web.address = 127.0.0.1\n")
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
    assert f"web: bind 127.0.0.1:{browser.port}: Address already in use" in done.stdout


def lighttpds(appliance):
    worker = appliance.pids()["web-worker"]
    with open(f"/proc/{worker}/task/{worker}/children", encoding="ascii") as children:
        return [int(pid) for pid in children.read().split()]


def certificate(port):
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=60)


def test_status_names_its_ports(web):
    browser, appliance, plain = web
    rows = {r["listener"]: r for r in appliance.ctl("status") if "listener" in r}
    assert rows["web"]["port"] == browser.port and rows["web"]["bound"]
    assert rows["web"]["tls"] == "implicit" and rows["web-http"]["port"] == plain


def test_another_port_while_a_request_is_on_its_way(web):
    """The old port answers who is connected, and goes; the new one is there at once."""
    browser, appliance, plain = web
    with socket.create_connection(("127.0.0.1", plain), timeout=60) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        other = free_ports(1)[0]
        appliance.ctl("set", "web.port", str(other))
        assert is_open(other)
        appliance.ctl("confirm")
        sock.sendall(b"Connection: close\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 301 ")
    appliance.wait_for(lambda: not is_open(browser.port))
    appliance.ctl("set", "web.port", str(browser.port))
    appliance.ctl("confirm")
    assert is_open(browser.port)
    assert Browser(browser.port).open("/login").status == 200


def test_the_port_is_changed_from_its_own_page(web):
    """The page says where to go on, and there the change is kept."""
    browser, appliance, _ = web
    before, other = browser.port, free_ports(1)[0]
    browser.sign_in(ADMIN, PASSWORD)
    for port in (other, before):
        browser.open("/system?q=web.port")
        page = browser.submit("/system/set", having={"name": "web.port"}, value=str(port))
        assert page.status == 200
        link = f"https://127.0.0.1:{port}/system"
        assert f'href="{link}"' in page.html
        browser.port = port
        browser.open("/system")
        assert browser.submit("/confirm").status == 200
        assert appliance.ctl("get", "web.port")[0]["value"] == str(port)
        assert b"seconds" not in appliance.run_ctl("confirm", "status").stdout


def test_a_port_that_nobody_confirms_comes_back(web):
    """The minute passes, also while nothing runs: the admin answers where it did before."""
    browser, appliance, _ = web
    before, other = browser.port, free_ports(1)[0]
    appliance.ctl("set", "web.port", str(other))
    assert is_open(other)
    path = f"{appliance.state}/conf/settings.revert"
    appliance.stop()
    with open(path, encoding="utf-8") as waiting:
        lines = waiting.read().split("\n", 1)
    with open(path, "r+", encoding="utf-8") as late:
        late.truncate()
        late.write(f"# Undone at {int(time.time()) - 5} unless confirmed.\n{lines[1]}")
    appliance.start()
    appliance.wait_for(lambda: is_open(before) and not is_open(other))
    assert appliance.ctl("get", "web.port")[0]["value"] == str(before)
    assert Browser(before).open("/login").status == 200


def test_ports_that_cannot_be_change_nothing(web):
    browser, appliance, plain = web
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = taken.getsockname()[1]
        for name, value, why in (("web.port", str(busy), "already in use"),
                                 ("web.port", str(plain), "has not taken"),
                                 ("web.port", "65536", "65535"),
                                 ("web.certificate", "nosuch", "nosuch"),
                                 ("web.address", "here", "here")):
            done = appliance.run_ctl("set", name, value)
            assert done.returncode != 0 and why in done.stdout.decode() + done.stderr.decode()
    assert is_open(browser.port) and is_open(plain)


def test_a_new_certificate_is_served_at_once(web):
    browser, appliance, _ = web
    before = certificate(browser.port)
    appliance.ctl("cert", "new", "default")
    appliance.ctl("cert", "install", "default")
    appliance.wait_for(lambda: certificate(browser.port) != before)


def test_a_change_of_others_leaves_it_alone(web):
    browser, appliance, _ = web
    before = lighttpds(appliance)
    appliance.ctl("set", "smtp.received_max", "51")
    assert lighttpds(appliance) == before and is_open(browser.port)


def test_one_that_dies_comes_back(web):
    browser, appliance, _ = web
    before = appliance.pids()["web-worker"]
    os.kill(lighttpds(appliance)[-1], signal.SIGKILL)  # the newest serves
    appliance.wait_for(lambda: appliance.pids().get("web-worker", before) != before)
    appliance.wait_for(lambda: lighttpds(appliance))
    assert Browser(browser.port).open("/login").status == 200


def test_an_upgrade_refuses_nobody(web):
    browser, appliance, plain = web
    before = appliance.pids()
    assert appliance.ctl("upgrade")["ok"]
    while appliance.pids().get("web-worker", before["web-worker"]) == before["web-worker"]:
        assert is_open(browser.port) and is_open(plain)
    appliance.wait_for(lambda: appliance.pids().get("authd", before["authd"]) != before["authd"])
    assert appliance.pids()["web-server"] == before["web-server"]
    assert Browser(browser.port).open("/login").status == 200
