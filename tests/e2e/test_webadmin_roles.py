"""Who may do what in the web admin: every path, every method, everybody, with each kind of token;
and what strangers send."""
import os
import random
import re
import socket

import pytest

from appliance import PASSWORD, ROOT, Appliance, free_ports
from web import Browser, query

ADMIN = "root@example.test"
USER = "alice@example.test"
EVIL = "<script>alert(1)</script>"
OLD_FORM = "This form is out of date."
# The table in the program is compared with this one; what is in neither is the administrator's.
PUBLIC = {("GET", "/style.css"), ("GET", "/app.js"), ("GET", "/login"), ("POST", "/login"),
          ("GET", "/setup"), ("POST", "/setup/code"),
          ("GET", "/.well-known/autoconfig/mail/config-v1.1.xml"),
          ("GET", "/mail/config-v1.1.xml"), ("GET", "/.well-known/mta-sts.txt"),
          ("POST", "/autodiscover/autodiscover.xml"), ("POST", "/Autodiscover/Autodiscover.xml")}
SETUP = {("POST", "/setup/host"), ("POST", "/setup/admin"), ("POST", "/setup/smarthost")}
OWN = {("POST", "/logout"), ("GET", "/me"), ("POST", "/mobileconfig"), ("POST", "/me/password"),
       ("POST", "/me/device"), ("POST", "/me/device-remove"), ("POST", "/me/second-factor"),
       ("POST", "/me/second-factor-confirm"), ("POST", "/me/second-factor-remove"),
       ("GET", "/me/undelete"), ("POST", "/me/undelete/do")}
WITHOUT_FORM = {("POST", "/autodiscover/autodiscover.xml"),
                ("POST", "/Autodiscover/Autodiscover.xml")}


def routes():
    with open(f"{ROOT}/webadmin/routes.def", encoding="utf-8") as table:
        found = re.findall(r'^(GET_PAGE|POST_FORM|POST_ANYHOW)\("([^"]+)", (\w+),', table.read(),
                           re.M)
    assert len(found) > 60
    return {("GET" if kind == "GET_PAGE" else "POST", path): who for kind, path, who in found}


@pytest.fixture(scope="module")
def server():
    port, http = free_ports(2)
    settings = {"web.port": str(port), "web.http_port": str(http),
                "dns.server": "127.0.0.1@1"}  # nobody: a look at the DNS ends at once
    with Appliance(settings=settings) as running:
        running.ctl("account", "add", ADMIN, "--admin", "--password-stdin", secret=PASSWORD)
        running.web_port = port
        yield running


def session(server, who):
    browser = Browser(server.web_port)
    if who:
        browser.sign_in(who, PASSWORD)
    else:
        browser.open("/login")
    return browser


def ask(browser, method, path, fields=None, origin=None):
    body, kind = browser.multipart(fields) if fields else (b"", "")
    headers = {"Content-Type": kind} if fields else {}
    if origin:
        headers["Origin"] = origin
    return browser.request(method, path, body, headers)


def who_may(method, path, who):
    """"yes", "login" (sent there), "no", or "nothing" where there is no such thing."""
    table = routes()
    if (method, path) not in table:
        return "nothing"
    if (method, path) in PUBLIC:
        return "yes"
    if who is None:
        return "login"
    if (method, path) in OWN or who == ADMIN:
        return "yes"
    return "home" if (method, path) == ("GET", "/") else "no"


def test_the_table_is_the_one_that_was_agreed():
    for route, who in routes().items():
        expected = ("PUBLIC" if route in PUBLIC else "SETUP" if route in SETUP else
                    "USER" if route in OWN else "ADMIN")
        assert who == expected, (route, who)


def state_of(server):
    return (server.ctl("account", "list"), server.ctl("domain", "list"), server.ctl("get"),
            [(c["id"], c["not-after"]) for c in server.ctl("cert", "list")])


@pytest.mark.parametrize("who", [None, USER, ADMIN])
def test_who_may_do_what(server, who):
    browser = session(server, who)
    token = [f["fields"]["csrf"] for f in browser.page.forms if "csrf" in f["fields"]][0]
    anybodys = session(server, None).page.form("/login")["fields"]["csrf"]
    cookies = dict(browser.cookies)
    # What these do with the right form ends the session, or changes the processes.
    paths = sorted({path for _, path in routes()} - {"/logout"})
    is_left_out = {("POST", "/system/upgrade")}
    before = state_of(server)
    for path in paths:
        for method in ("GET", "POST"):
            expected = who_may(method, path, who)
            right = anybodys if (method, path) in PUBLIC else token
            kinds = [("no token", {"x": "y"}, None), ("a wrong one", {"csrf": "0" * 16}, None),
                     ("from elsewhere", {"csrf": right}, "https://evil.test"),
                     ("right", {"csrf": right}, f"https://127.0.0.1:{server.web_port}")]
            if (method, path) in is_left_out and who == ADMIN:
                kinds.pop()
            for kind, fields, origin in kinds if method == "POST" else kinds[3:]:
                browser.cookies = dict(cookies)
                page = ask(browser, method, path, fields if method == "POST" else None, origin)
                seen = (method, path, kind, page.status, page.text[-200:])
                if expected == "nothing":
                    assert page.status == 404, seen
                elif expected in ("login", "home"):
                    assert page.status == 303, seen
                    assert page.headers["Location"] == {"login": "/login", "home": "/me"}[expected]
                elif expected == "no":
                    assert page.status == 403 and "Only an administrator" in page.text, seen
                elif method == "POST" and (method, path) in WITHOUT_FORM:
                    assert page.status in (200, 400, 404), seen
                elif method == "POST" and kind != "right":
                    assert page.status == 403 and OLD_FORM in page.text, seen
                else:
                    assert OLD_FORM not in page.text, seen
                    assert "Only an administrator" not in page.text, seen
                    assert page.status < 500, seen
                    # The setup is over.
                    assert page.headers.get("Location") != "/login" or "/setup" in path, seen
    browser.cookies = dict(cookies)
    assert ask(browser, "GET", "/me").status == (200 if who else 303)
    assert state_of(server) == before


def test_a_token_is_good_for_its_own_session_only(server):
    one, two = session(server, ADMIN), session(server, ADMIN)
    token = one.page.form("/logout")["fields"]["csrf"]
    page = ask(two, "POST", "/domains/add", {"csrf": token, "name": "stolen.test"})
    assert page.status == 403 and OLD_FORM in page.text
    page = ask(one, "POST", "/domains/add", {"csrf": token, "name": "mine.test"})
    assert page.status == 303
    server.ctl("domain", "remove", "mine.test")


def test_a_session_that_was_given_is_not_taken(server):
    """Fixation: a cookie that came from elsewhere is no session, and a login makes a new one."""
    for planted in ("a" * 32, "x", "../../x", "0" * 128, "0" * 129, "%00", '"quoted"'):
        browser = Browser(server.web_port)
        browser.cookies = {"__Host-mailstead": planted}
        assert browser.open("/me").path == "/login", planted
        browser.sign_in(USER, PASSWORD)
        assert browser.cookies["__Host-mailstead"] != planted
    # An account without rights stays so: whatever else it sends.
    page = browser.request("GET", "/accounts", headers={"X-Forwarded-User": ADMIN,
                                                        "X-Original-URL": "/login"})
    assert page.status == 403


def send(server, *lines):
    """One SMTP dialogue; the last reply."""
    with socket.create_connection(("127.0.0.1", server.ports["smtp"]), timeout=30) as sock:
        smtp = sock.makefile("rwb")
        reply = smtp.readline()
        for line in lines:
            smtp.write(line.encode() + b"\r\n")
            smtp.flush()
            reply = smtp.readline()
        return reply


PAGES = ("/", "/accounts", "/account?a=alice%40example.test", "/aliases", "/domains",
         "/domain?d=example.test", "/ports", "/certificates", "/certificate?id=evil", "/network",
         "/queue", "/routes", "/undelete?a=alice%40example.test", "/trace", "/logs", "/system",
         "/backup", "/backup/restore?g=x", "/me")


def test_no_stored_text_becomes_markup(server):
    """Everything that a stranger, a user or another administrator can leave behind, on every page."""
    server.ctl("app-password", "add", USER, EVIL)
    for words in (("alias", "add", EVIL, USER), ("domain", "add", EVIL), ("account", "quota", USER,
                                                                         EVIL),
                  ("cert", "csr", "evil", EVIL), ("set", "server.hostname", EVIL)):
        server.run_ctl(*words)
    server.ctl("cert", "new", "evil", "mail.example.test", "--o", EVIL, "--ou", '"\'><img src=x>')
    server.ctl("cert", "csr", "evil", "mail.example.test", "--o", EVIL)
    server.ctl("set", "acme.email", EVIL)
    send(server, f"HELO {EVIL}", f'MAIL FROM:<"{EVIL}"@elsewhere.test>', f"RCPT TO:<{USER}>",
         "DATA", f"Subject: {EVIL}\r\nFrom: {EVIL} <x@y.test>\r\n\r\n{EVIL}\r\n.")
    send(server, "HELO x", "MAIL FROM:<>", f'RCPT TO:<"{EVIL}"@example.test>')
    Browser(server.web_port).sign_in(EVIL, EVIL)
    browser = session(server, ADMIN)
    server.wait_for(lambda: server.ctl("trace", "last"))
    seen = set()
    for path in PAGES:
        page = browser.open(path)
        assert page.status in (200, 409), path
        assert "<script>alert" not in page.html and "<img" not in page.html, path
        if "&lt;script" in page.html:
            seen.add(path)
    assert seen >= {"/account?a=alice%40example.test", "/certificate?id=evil", "/trace", "/logs",
                    "/system"}, seen
    for path in ("/accounts?q=", "/account?a=", "/domain?d=", "/certificate?id=", "/message?id=",
                 "/trace?q=", "/system?q=", "/login?done=", "/?done="):
        page = browser.open(path + query(EVIL + "\"'"))
        assert "<script>alert" not in page.html and not re.search(r"=\"[^\"]*<script", page.html)
    server.ctl("unset", "acme.email")


def test_nothing_from_outside_gets_into_a_header(server):
    browser = session(server, ADMIN)
    token = browser.page.form("/logout")["fields"]["csrf"]
    bad = "x\r\nSet-Cookie: evil=1\r\n\r\n<script>"
    for path in ("/account?a=", "/domain/zone?d=", "/certificate?id=", "/?done=", "/trace?q="):
        page = browser.request("GET", path + query(bad))
        assert "evil" not in str(page.headers).lower(), path
    for action, fields in (("/account/quota", {"name": bad, "quota": "1"}),
                           ("/certificates/do", {"verb": "rollback", "id": bad}),
                           ("/domain/keys", {"verb": "rotate", "name": bad}),
                           ("/ports/set", {"name": bad}), ("/queue/do", {"id": bad}),
                           ("/login", {"address": bad, "password": bad})):
        page = ask(browser, "POST", action, {**fields, "csrf": token})
        assert "evil" not in str(page.headers).lower(), action


def test_sizes(server):
    browser = session(server, ADMIN)
    token = browser.page.form("/logout")["fields"]["csrf"]
    for path, size, expected in (("/domains/add", 70_000, 413), ("/certificates/do", 900_000, 409),
                                 ("/certificates/do", 1_100_000, 413)):
        page = browser.post(path, {"csrf": token, "verb": "import", "id": "big"},
                            {"file": b"x" * size})
        assert page.status == expected, (path, size, page.status)
    for length in ("-1", "99999999999999999999", "x", "10x"):
        page = browser.request("POST", "/login", b"", {"Content-Length": length})
        assert page.status in (400, 403, 411, 413), length
    page = browser.request("GET", "/trace?" + "&".join(f"a{i}=b" for i in range(100)))
    assert page.status == 413


def test_mutated_certificates(server):
    """What is nearly a certificate: refused, or looked at without harm; what is served stays."""
    rnd = random.Random(11)
    before = state_of(server)
    pem = server.ctl("cert", "export-chain", "default")[-1]["pem"].encode()
    browser = session(server, ADMIN)
    token = browser.page.form("/logout")["fields"]["csrf"]
    for i in range(int(os.environ.get("MS_UPLOADS", "50"))):
        bad = bytearray(pem)
        for _ in range(rnd.randint(1, 8)):
            at = rnd.randrange(len(bad))
            match rnd.randrange(4):
                case 0:
                    bad[at] = rnd.randrange(256)
                case 1:
                    del bad[at:at + rnd.randint(1, 40)]
                case 2:
                    bad[at:at] = bytes(rnd.choices(b"AZ/+=-\n\x00\xff", k=rnd.randint(1, 20)))
                case _:
                    bad[at:at] = bad[rnd.randrange(len(bad)):][:200]
        page = ask(browser, "POST", "/certificates/do",
                   {"csrf": token, "verb": "import", "id": "mutant", "paste": bytes(bad)})
        assert page.status == 409, (i, bytes(bad))  # there is no key in it
    assert state_of(server) == before
    assert "mutant" not in str(server.ctl("cert", "list"))
    assert "keyd" in str(server.ctl("status"))
