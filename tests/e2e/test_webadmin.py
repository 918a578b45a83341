"""The web admin as a person uses it, in a browser without JavaScript."""
import base64
import hashlib
import hmac
import random
import re
import socket
import ssl
import struct
import subprocess
import time

import pytest

from appliance import BIN, PASSWORD, Appliance, free_ports, tls_context
from imap_account import ImapAccount
from web import Browser, query

ADMIN = "root@example.test"
EVIL = "<script>alert(1)</script>\"'&"


def with_web(**kwargs):
    port, http = free_ports(2)
    settings = {"web.port": str(port), "web.http_port": str(http),
                "dns.server": "127.0.0.1@1",  # nobody: a look at the DNS ends at once
                **kwargs.pop("settings", {})}
    running = Appliance(settings=settings, **kwargs)
    running.web_port, running.http_port = port, http
    return running


@pytest.fixture(scope="module")
def server():
    with with_web() as running:
        running.ctl("account", "add", ADMIN, "--admin", "--password-stdin", secret=PASSWORD)
        yield running


@pytest.fixture
def admin(server):
    browser = Browser(server.web_port)
    page = browser.sign_in(ADMIN, PASSWORD)
    assert page.status == 200 and page.path == "/", page.text
    return browser


# --- the first run -----------------------------------------------------------------------------
def test_wizard_from_nothing_to_a_mailbox():
    with with_web(accounts=(), settings={"server.hostname": "mail.example.test"}) as fresh:
        browser = Browser(fresh.web_port)
        page = browser.open("/")
        assert page.path == "/setup" and "setup code" in page.text.lower()
        assert browser.open("/accounts").path == "/setup"
        page = browser.submit("/setup/code", code="0" * 32)
        assert page.status == 403
        code = fresh.ctl("setup-code")[0]["code"]
        page = browser.submit("/setup/code", code=code)
        page = browser.submit("/setup/host", domain="no domain", host="mail.example.test")
        assert page.status == 409
        page = browser.submit("/setup/host", domain="example.test", host="mail.example.test")
        # Somebody else, or the same person tomorrow: it goes on where it stood.
        page = browser.open("/")
        assert page.path == "/setup"
        assert "/setup?check=1" in page.parser.links
        # A look takes half a minute where nobody answers: its form is sent without one.
        token = browser.open("/setup?go=admin").form("/setup/admin")["fields"]["csrf"]
        for host, status in (("no host", 409), ("smtp.provider.test:587", 303)):
            body, kind = browser.multipart({"csrf": token, "for": "all", "host": host,
                                            "tls": "verified"})
            answer = browser.request("POST", "/setup/smarthost", body, {"Content-Type": kind})
            assert answer.status == status, answer.text
        assert fresh.ctl("route", "list")[0]["host"] == "smtp.provider.test"
        page = browser.open("/setup?go=admin")
        page = browser.submit("/setup/admin", name=ADMIN, password="short")
        assert page.status == 409
        page = browser.submit("/setup/admin", name=ADMIN, password=PASSWORD)
        # Interrupted here, the second factor is asked for again; it can wait.
        assert browser.open("/setup").form("/setup/second-factor")
        page = browser.submit("/setup/second-factor", password="wrong one")
        assert page.status == 409
        browser.open("/setup")
        page = browser.submit("/setup/second-factor", password=PASSWORD)
        assert "<svg" in page.html
        codes = re.findall(r"<li><code>([^<]+)</code>", page.html)
        assert len(codes) == 10
        page = browser.submit("/setup/second-factor-confirm", code="000000")
        assert page.status == 409 and page.form("/setup/second-factor")
        page = browser.submit("/setup/second-factor", password=PASSWORD)
        secret = re.search(r"<code>([A-Z2-7]{32})</code>", page.html).group(1)
        page = browser.submit("/setup/second-factor-confirm", code=totp(secret))
        assert page.form("/setup/mailbox"), page.text
        page = browser.submit("/setup/mailbox", name="alice@example.test", password=PASSWORD)
        assert "imap" in page.text.lower() and str(fresh.ports["imaps"]) in page.text
        assert browser.open("/").path == "/"
        # The code has done its work, for everybody.
        assert Browser(fresh.web_port).open("/setup").path == "/login"
        assert [a["address"] for a in fresh.ctl("account", "list")] == \
            ["alice@example.test", ADMIN]


# --- signing in --------------------------------------------------------------------------------
def test_without_a_session_everything_leads_to_the_login(server):
    browser = Browser(server.web_port)
    for path in ("/", "/accounts", "/ports", "/queue", "/system", "/logs", "/me", "/domains",
                 "/aliases", f"/account?a={query(ADMIN)}"):
        assert browser.open(path).path == "/login", path
    assert browser.open("/nothing").status == 404


def test_login_and_logout(server):
    browser = Browser(server.web_port)
    page = browser.sign_in(ADMIN, "wrong password")
    assert page.status == 403 and not browser.cookies
    assert "wrong address or password" in page.text
    browser.sign_in(ADMIN, PASSWORD)
    cookie = dict(browser.cookies)
    browser.submit("/logout")
    assert not browser.cookies
    browser.cookies = cookie
    assert browser.open("/").path == "/login"


def test_a_login_makes_a_new_session(server):
    browser = Browser(server.web_port)
    browser.cookies = {"__Host-mailstead": "f" * 32}
    browser.sign_in(ADMIN, PASSWORD)
    assert browser.cookies["__Host-mailstead"] != "f" * 32


def test_people_see_their_own_account_only(server):
    browser = Browser(server.web_port)
    page = browser.sign_in("alice@example.test", PASSWORD)
    assert page.path == "/me" and "alice@example.test" in page.text
    for path in ("/accounts", "/ports", "/queue", "/system", "/logs", "/domains", "/aliases",
                 "/account?a=bob%40example.test"):
        assert browser.open(path).status == 403, path
    assert browser.open("/").path == "/me"


# --- what is refused ----------------------------------------------------------------------------
def forms_of(browser):
    pages = ["/", "/accounts", "/aliases", "/domains", "/ports", "/queue", "/system", "/logs",
             "/me", f"/account?a={query('alice@example.test')}"]
    for path in pages:
        yield from browser.open(path).forms


def test_no_form_works_without_its_token_or_from_elsewhere(admin, server):
    before = server.ctl("account", "list"), server.ctl("domain", "list")
    actions = {f["action"]: f["fields"] for f in forms_of(admin) if f["method"] == "post"}
    assert len(actions) > 12
    for action, fields in actions.items():
        if action == "/logout":
            continue
        good = {k: v or "" for k, v in fields.items()}
        for bad in ({**good, "csrf": ""}, {**good, "csrf": "0" * 16},
                    {k: v for k, v in good.items() if k != "csrf"}):
            assert admin.post(action, bad).status == 403, action
        assert admin.post(action, good, headers={"Origin": "https://evil.test"}).status == 403
        assert admin.request("GET", action).status in (404, 200, 303), action
    assert (server.ctl("account", "list"), server.ctl("domain", "list")) == before


def test_every_page_has_its_headers_and_is_small(admin):
    for path in ("/", "/accounts", "/ports", "/system", "/me", "/login", "/nothing"):
        page = admin.open(path)
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert "max-age" in page.headers["Strict-Transport-Security"]
        assert page.headers["Cache-Control"] == "no-store"
        assert len(page.body) < 100_000, path
        assert not page.parser.unlabelled, (path, page.parser.unlabelled)
        assert page.parser.headings.count("h1") == 1
        assert len(page.parser.ids) == len(set(page.parser.ids))
        assert not re.search(r"<[^>]+ (on\w+|style)=", page.html)


def test_header_injection_and_bad_requests(admin):
    page = admin.request("GET", "/account?a=x%0d%0aSet-Cookie:%20evil=1")
    assert "evil" not in str(page.headers)
    for body, kind in ((b"x" * 10, "text/plain"), (b"a=%zz", "application/x-www-form-urlencoded"),
                       (b"--x\r\nno end", "multipart/form-data; boundary=x"),
                       (b"", "multipart/form-data"),
                       (b"&".join(b"a=b" for _ in range(100)),
                        "application/x-www-form-urlencoded")):
        page = admin.request("POST", "/accounts/add", body, {"Content-Type": kind})
        assert page.status in (400, 403, 413), (body[:20], page.status)
    assert admin.request("PUT", "/").status in (405, 501)


# --- what can be done ----------------------------------------------------------------------------
def test_accounts(admin, server):
    admin.open("/accounts")
    page = admin.submit("/accounts/add", name="carol@example.test", password=PASSWORD)
    assert "Added." in page.text and "carol@example.test" in page.text
    # Without a password one is made and shown once, with what a mail program needs.
    page = admin.submit("/accounts/add", name="dora@example.test", password="")
    made = re.search(r"<code>([a-z2-9]{4}(?:-[a-z2-9]{4}){3})</code>", page.html).group(1)
    assert str(server.ports["imaps"]) in page.text
    assert Browser(server.web_port).sign_in("dora@example.test", made).path == "/me"
    page = admin.open("/accounts?q=dora")
    assert "dora@example.test" in page.text and "carol@" not in page.text
    page = admin.open("/account?a=dora%40example.test")
    page = admin.submit("/account/quota", quota="2G")
    assert "Changed." in page.text
    assert server.ctl("account", "show", "dora@example.test")[0]["quota"] == 2 << 30
    page = admin.submit("/account/protocols", protocols="imap")
    assert server.ctl("account", "show", "dora@example.test")[0]["protocols"] == "imap"
    page = admin.submit("/account/state")
    assert server.ctl("account", "show", "dora@example.test")[0]["state"] == "disabled"
    page = admin.submit("/account/remove")
    assert page.status == 409
    admin.open("/account?a=dora%40example.test")
    page = admin.submit("/account/remove", sure="yes")
    assert page.path.startswith("/accounts") and "dora@" not in page.text
    page = admin.open("/accounts")
    page = admin.submit("/accounts/add", name="carol@example.test", password=PASSWORD)
    assert page.status == 409 and "there is an account" in page.text


def test_many_accounts_at_once(admin, server):
    admin.open("/accounts")
    page = admin.submit("/accounts/many", lines="e1@example.test\ne2@example.test, long enough pw"
                                                "\n\nnot an address\n")
    assert page.text.count("Added.") == 2 and "refused" in page.text
    assert Browser(server.web_port).sign_in("e2@example.test", "long enough pw").path == "/me"


def test_aliases_and_domains(admin, server):
    admin.open("/domains")
    page = admin.submit("/domains/add", name="second.test")
    assert "second.test" in page.text
    admin.open("/aliases")
    page = admin.submit("/aliases/add", name="sales@second.test",
                        targets="alice@example.test, bob@example.test")
    assert "sales@second.test" in page.text
    assert len(server.ctl("alias", "list", "second.test")) == 1
    admin.submit("/aliases/remove", having={"name": "sales@second.test"})
    admin.open("/domains")
    page = admin.submit("/domains/remove", having={"name": "second.test"})
    assert "second.test" not in page.text


def test_what_an_account_may_send(admin, server):
    server.add_account("iris@example.test")
    admin.open("/account?a=iris%40example.test")
    page = admin.submit("/account/sender", sender="@example.test")
    assert "Added." in page.text and "@example.test" in page.text
    assert len(server.ctl("sender", "list", "iris@example.test")) == 1
    page = admin.submit("/account/sender-remove")
    assert not server.ctl("sender", "list", "iris@example.test")
    page = admin.submit("/account/limits", per_hour="17")
    assert "Changed." in page.text
    limits, = server.ctl("account", "limits", "iris@example.test")
    assert limits["per_hour"] == 17 and limits["per_day"] == 0
    page = admin.submit("/account/limits", per_hour="")
    assert server.ctl("account", "limits", "iris@example.test")[0]["per_hour"] == 0
    page = admin.submit("/account/limits", per_hour="many")
    assert page.status == 409


def test_an_alias_for_a_while(admin, server):
    admin.open("/aliases")
    page = admin.submit("/aliases/add", name="shop@example.test", targets="alice@example.test",
                        until="+7d")
    assert "Added." in page.text
    row, = [a for a in server.ctl("alias", "list") if a["alias"] == "shop@example.test"]
    assert 6 * 86400 < row["until"] - time.time() < 8 * 86400
    server.ctl("alias", "remove", "shop@example.test")
    admin.open("/aliases")
    assert admin.submit("/aliases/add", name="shop@example.test", targets="alice@example.test",
                        until="soon").status == 409


def test_stored_text_is_escaped_everywhere(admin, server):
    server.ctl("app-password", "add", "bob@example.test", EVIL)
    page = admin.open("/account?a=bob%40example.test")
    assert EVIL in page.text and "<script>alert" not in page.html
    admin.open("/aliases")
    page = admin.submit("/aliases/add", name=EVIL, targets=EVIL)
    assert page.status == 409 and "<script>alert" not in page.html
    page = admin.open("/accounts?q=" + query(EVIL))
    assert "<script>alert" not in page.html
    page = admin.open("/logs")
    assert "<script>alert" not in page.html and "alias add" in page.text
    page = admin.open("/account?a=" + query(EVIL))
    assert page.status == 409 and "<script>alert" not in page.html


def test_settings(admin, server):
    admin.open("/system?q=bad_commands")
    page = admin.submit("/system/set", having={"name": "smtp.bad_commands_max"}, value="17")
    assert "Changed." in page.text
    assert server.ctl("get", "smtp.bad_commands_max")[0]["value"] == "17"
    admin.open("/system?q=bad_commands")
    page = admin.submit("/system/set", having={"name": "smtp.bad_commands_max"}, value="many")
    assert page.status == 409 and "Nothing was changed" in page.text
    # What the administrator's file says is shown with its place, and not offered for change.
    page = admin.open("/system?q=server.hostname")
    assert "mailstead.conf:" in page.text
    assert not [f for f in page.forms if f["fields"].get("name") == "server.hostname"]


def test_settings_as_a_file(admin, server, tmp_path):
    server.ctl("set", "acme.email", 'quoted "x" \\ here')
    page = admin.open("/system/settings")
    assert page.headers["Content-Type"].startswith("text/plain")
    path = tmp_path / "mailstead.conf"
    path.write_bytes(page.body)
    server.ctl("unset", "acme.email")
    done = subprocess.run([f"{BIN}/mailsteadctl", "-c", str(path), "config", "check"], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, (done.stdout, page.text)
    assert 'acme.email = "quoted \\"x\\" \\\\ here"' in page.html


def test_home_says_what_runs(admin):
    page = admin.open("/")
    for name in ("authd", "smtpd-receive", "imaps", "pop3"):
        assert name in page.text
    assert "Everything works." in page.text


def deliver(server, sender, to="alice@example.test"):
    sock = socket.create_connection(("127.0.0.1", server.ports["smtp"]), timeout=30)
    with sock, sock.makefile("rwb") as smtp:
        smtp.readline()
        for line in (b"HELO x", f"MAIL FROM:<{sender}>".encode(), f"RCPT TO:<{to}>".encode(),
                     b"DATA", b"Subject: x\r\n\r\nx\r\n.", b"QUIT"):
            smtp.write(line + b"\r\n")
            smtp.flush()
            if smtp.readline()[:1] not in b"23":
                return False
    return True


def test_graphs_count_what_the_trace_has(admin, server):
    before = server.ctl("traffic", "1")[0]["delivered"]
    assert deliver(server, "graph@elsewhere.test")
    assert not deliver(server, "graph@elsewhere.test", to="nobody@example.test")

    def hours():
        rows = server.ctl("traffic", "2")
        return rows if sum(r["delivered"] for r in rows) > before else None
    rows = server.wait_for(hours)
    assert len(rows) == 2 and rows[1]["time"] - rows[0]["time"] == 3600
    assert sum(r["refused"] for r in rows) >= 1
    page = admin.open("/")
    assert page.html.count("<svg") == 4 and "<rect" in page.html and "Receiving mail" in page.text
    for wrong in (["0"], ["337"], ["x"], ["1", "2"]):
        assert server.run_ctl("traffic", *wrong).returncode == 1


def test_dns_page(admin, server):
    page = admin.open("/domains")
    assert "/domain?d=example.test" in page.html
    page = admin.open("/domain?d=example.test")
    assert page.status == 200 and "v=DMARC1" in page.text and "_domainkey" in page.text
    page = admin.open("/domain?check=1&d=example.test")
    assert page.status == 200 and ("missing" in page.text or "no answer" in page.text)
    zone = admin.open("/domain/zone?d=example.test")
    assert zone.headers["Content-Type"].startswith("text/dns")
    assert "attachment" in zone.headers["Content-Disposition"] and "TXT" in zone.html
    admin.open("/domain?d=example.test")
    page = admin.submit("/domain/keys", having={"verb": "rotate"})
    assert "Changed." in page.text and len(server.ctl("dkim", "list", "example.test")) > 2
    for bad in (EVIL, "--zone", "nothing.test", ""):
        page = admin.open("/domain?d=" + query(bad))
        assert page.status in (400, 409) and "<script>alert" not in page.html, bad


# --- ports ---------------------------------------------------------------------------------------
def test_a_port_is_really_tested(admin, server):
    for name, offers in (("smtp", "STARTTLS"), ("imap", "IMAP4rev1"), ("pop3", "UIDL"),
                         ("submissions", "")):
        admin.open("/ports")
        page = admin.submit("/ports/test", having={"name": name})
        assert page.status == 200 and "TLSv1.3" in page.text and offers in page.text, page.text
        assert "mail.example.test" in page.text and "self-signed certificate" in page.text
    fields = {"csrf": admin.page.form("/logout")["fields"]["csrf"]}
    for wrong in ("nothing", "lmtp-unix", EVIL, ""):
        page = admin.post("/ports/test", {**fields, "name": wrong})
        assert page.status == 404 and "<script>alert" not in page.html


def is_open(server, name):
    try:
        socket.create_connection(("127.0.0.1", server.ports[name]), timeout=30).close()
        return True
    except ConnectionRefusedError:
        return False


def test_presets(admin, server):
    admin.open("/ports")
    page = admin.submit("/ports/preset", button=("preset", "modern"))
    assert "Changed." in page.text
    server.wait_for(lambda: not is_open(server, "imap"))
    assert not is_open(server, "pop3") and not is_open(server, "submission-alt")
    assert is_open(server, "imaps") and is_open(server, "smtp")
    admin.submit("/ports/preset", button=("preset", "plain"))
    server.wait_for(lambda: is_open(server, "imap"))
    assert is_open(server, "pop3") and not is_open(server, "submission-alt")
    server.ctl("set", "listener.submission-alt.enabled", "yes")


@pytest.mark.parametrize("port", ["0", "65536", "-1", "22x", "", "busy"])
def test_ports_that_cannot_be(admin, server, port):
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    held.listen()
    before = server.ctl("get")
    admin.open("/ports")
    page = admin.submit("/ports/add", name="another", role="imap", tls="required",
                        port=str(held.getsockname()[1]) if port == "busy" else port)
    held.close()
    assert page.status == 409 and "Nothing was changed" in page.text, page.text
    assert server.ctl("get") == before


def test_two_administrators_at_once(server):
    """Each with a page that is old by then: both changes hold, none takes the other's back."""
    both = [Browser(server.web_port) for _ in range(2)]
    for browser in both:
        browser.sign_in(ADMIN, PASSWORD)
        browser.open("/ports")
    page = both[0].submit("/ports/set", having={"name": "pop3s"}, hostname="one.example.test")
    assert "Changed." in page.text
    page = both[1].submit("/ports/set", having={"name": "pop3s"}, auth="no")
    assert "Changed." in page.text
    settings = {s["name"]: s["value"] for s in server.ctl("get")}
    assert settings["listener.pop3s.auth"] == "no"
    assert settings["listener.pop3s.hostname"] == "one.example.test"
    server.ctl("unset", "listener.pop3s.auth", "listener.pop3s.hostname")


def test_network_page(admin):
    page = admin.open("/network")
    assert page.status == 200 and "Look now" in page.text
    for wrong in ("--from", "", "no address"):
        admin.open("/network")
        assert admin.submit("/network/send", to=wrong).status == 409


# --- certificates --------------------------------------------------------------------------------
def own_ca(folder):
    """A CA of the test's: sign(csr, names) -> PEM of certificate and CA."""
    key, cert = f"{folder}/ca.key", f"{folder}/ca.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "99", "-subj", "/CN=Test CA",
                    "-keyout", key, "-out", cert], check=True, capture_output=True)

    def sign(csr):
        with open(f"{folder}/req.pem", "w", encoding="ascii") as f:
            f.write(csr)
        done = subprocess.run(["openssl", "x509", "-req", "-in", f"{folder}/req.pem", "-CA", cert,
                               "-CAkey", key, "-CAcreateserial", "-days", "90",
                               "-copy_extensions", "copy"], check=True, capture_output=True)
        with open(cert, encoding="ascii") as f:
            # The wrong way round: the order is mended.
            return (f.read() + done.stdout.decode()).encode()

    return sign


def served(port):
    """The serial number of what a listener shows."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        with tls_context().wrap_socket(sock, server_hostname="mail.example.test") as tls:
            return hashlib.sha256(tls.getpeercert(True)).hexdigest()


def test_certificate_desk(admin, server, tmp_path):
    before = served(server.ports["imaps"])
    page = admin.open("/certificates")
    assert "default" in page.text
    page = admin.submit("/certificates/do", having={"verb": "csr"}, names="mail.example.test",
                        o="Acme <b>&", c="NL")
    assert "pending" in page.text and "<b>" not in page.html.replace("<b>mailstead", "")
    csr = re.search(r"-----BEGIN CERTIFICATE REQUEST-----.*?-----END CERTIFICATE REQUEST-----",
                    page.html, re.S).group(0)
    assert "PRIVATE" not in page.html
    # Somebody else's certificate does not fit the key.
    page = admin.submit("/certificates/do", having={"verb": "answer"},
                        paste=ssl.get_server_certificate(("127.0.0.1", server.ports["imaps"])))
    assert page.status == 409
    admin.open("/certificate?id=default")
    page = admin.submit("/certificates/do", having={"verb": "answer"},
                        files={"file": own_ca(tmp_path)(csr)})
    assert "Not installed yet" in page.text and served(server.ports["imaps"]) == before
    page = admin.submit("/certificates/do", having={"verb": "install"}, force="yes")
    assert "Changed." in page.text
    server.wait_for(lambda: served(server.ports["imaps"]) != before)
    page = admin.submit("/certificates/do", having={"verb": "rollback"})
    server.wait_for(lambda: served(server.ports["imaps"]) == before)
    for path in ("/certificates", "/certificate?id=default", "/certificate?id=x%22%3E"):
        assert "PRIVATE KEY" not in admin.open(path).html


def test_uploads_that_are_no_certificates(admin):
    rnd = random.Random(7)
    for n in (0, 1, 100, 5000, 300000):
        admin.open("/certificates")
        page = admin.submit("/certificates/do", having={"verb": "import"}, id="junk",
                            files={"file": rnd.randbytes(n)})
        assert page.status == 409, n
    admin.open("/certificates")
    page = admin.submit("/certificates/do", having={"verb": "new"}, id="--force")
    assert page.status == 409
    assert "junk" not in admin.open("/certificates").text


def test_message_finder(admin, server):
    assert deliver(server, "finder@elsewhere.test")

    def found():
        page = admin.open("/trace?q=finder%40elsewhere.test")
        return "delivered" in page.text and page
    page = server.wait_for(found)
    assert "alice@example.test" in page.text
    page = admin.open("/trace?q=" + query(EVIL))
    assert "Nothing was found." in page.text and "<script>alert" not in page.html


# --- one's own account ---------------------------------------------------------------------------
def totp(secret, step=0):
    mac = hmac.new(base64.b32decode(secret), struct.pack(">Q", int(time.time()) // 30 + step),
                   hashlib.sha1).digest()
    at = mac[-1] & 15
    return f"{(struct.unpack('>I', mac[at:at + 4])[0] & 0x7fffffff) % 1000000:06d}"


def test_second_factor(server):
    server.ctl("account", "add", "second@example.test", "--admin", "--password-stdin",
               secret=PASSWORD)
    browser = Browser(server.web_port)
    browser.sign_in("second@example.test", PASSWORD)
    browser.open("/me")
    page = browser.submit("/me/second-factor", password="wrong password")
    assert page.status == 409
    browser.open("/me")
    page = browser.submit("/me/second-factor", password=PASSWORD)
    assert "<svg" in page.html and "QR code" in page.html
    secret = re.search(r"<code>([A-Z2-7]{32})</code>", page.html).group(1)
    page = browser.submit("/me/second-factor-confirm", code=totp(secret))
    assert "Recovery codes left: 10" in page.text
    other = Browser(server.web_port)
    page = other.sign_in("second@example.test", PASSWORD)
    assert page.status == 403 and "second factor" in page.text
    assert other.sign_in("second@example.test", PASSWORD, totp(secret, 1)).path == "/"


def test_own_password_and_devices(server):
    server.add_account("frank@example.test")
    browser = Browser(server.web_port)
    browser.sign_in("frank@example.test", PASSWORD)
    page = browser.submit("/me/device", label="stolen", password="wrong password")
    assert page.status == 409
    assert "stolen" not in browser.open("/me").text
    page = browser.submit("/me/device", label="phone " + EVIL, password=PASSWORD)
    made = re.search(r"<code>([a-z2-9]{4}(?:-[a-z2-9]{4}){5})</code>", page.html).group(1)
    profile = browser.submit("/mobileconfig")
    assert profile.headers["Content-Type"] == "application/x-apple-aspen-config"
    assert made in profile.html and str(server.ports["imaps"]) in profile.html
    page = browser.open("/me")
    assert EVIL in page.text
    page = browser.submit("/me/device-remove")
    assert EVIL not in page.text
    page = browser.submit("/me/password", password="wrong password", new="a new password")
    assert page.status == 409
    browser.open("/me")
    page = browser.submit("/me/password", password=PASSWORD, new="a new password")
    assert page.path.startswith("/login")
    assert Browser(server.web_port).sign_in("frank@example.test", PASSWORD).status == 403
    assert Browser(server.web_port).sign_in("frank@example.test", "a new password").path == "/me"


def remove_all(server, address):
    """IMAP: everything in INBOX is expunged."""
    with server.connect("imaps") as sock, sock.makefile("rwb") as imap:
        imap.readline()
        for n, line in enumerate((f'LOGIN {address} "{PASSWORD}"', "SELECT INBOX",
                                  "STORE 1:* +FLAGS.SILENT (\\Deleted)", "EXPUNGE", "LOGOUT")):
            imap.write(f"a{n} {line}\r\n".encode())
            imap.flush()
            while not (reply := imap.readline()).startswith(f"a{n} ".encode()):
                assert reply
            assert b" OK" in reply, reply


def test_people_restore_what_they_removed(admin, server):
    server.add_account("grace@example.test")
    assert deliver(server, "undo@elsewhere.test", to="grace@example.test")
    server.wait_for(lambda: "delivered" in str(server.ctl("trace", "undo@elsewhere.test")))
    browser = Browser(server.web_port)
    browser.sign_in("grace@example.test", PASSWORD)
    assert "/me/undelete" in browser.page.html
    assert "Nothing was removed lately." in browser.open("/me/undelete").text
    remove_all(server, "grace@example.test")
    page = browser.open("/me/undelete")
    assert "INBOX" in page.text
    page = browser.open("/me/undelete?m=INBOX")
    assert "undo@elsewhere.test" in page.text or "x" in page.text
    page = browser.submit("/me/undelete/do", having={"verb": "message"})
    assert "Restored." in page.text and "Nothing was removed lately." in page.text
    # Of somebody else's account there is no way to it, whatever the form says.
    remove_all(server, "grace@example.test")
    other = Browser(server.web_port)
    other.sign_in("bob@example.test", PASSWORD)
    other.open("/me/undelete")
    token = other.page.form("/logout")["fields"]["csrf"]
    page = other.post("/me/undelete/do", {"csrf": token, "verb": "mailbox", "m": "INBOX",
                                          "a": "grace@example.test"})
    assert "INBOX" in browser.open("/me/undelete").text
    assert other.open("/undelete?a=grace%40example.test").status == 403
    page = admin.open("/undelete?a=grace%40example.test")
    assert "INBOX" in page.text
    page = admin.submit("/undelete/do", having={"verb": "since"}, time="1h")
    assert "Restored." in page.text and "Nothing was removed lately." in page.text
    for wrong in ("--x", ""):
        assert admin.open("/undelete?a=" + wrong).status == 400


def test_smarthosts(admin, server):
    admin.open("/routes")
    page = admin.submit("/routes/add", **{"for": "to:big.test"}, host="relay.example.test:587",
                        user="me", password="secret of mine")
    assert "Added." in page.text and "relay.example.test" in page.text
    row, = server.ctl("route", "list")
    assert (row["for"], row["port"], row["tls"], row["user"]) == \
        ("to:big.test", 587, "verified", "me")
    assert "secret of mine" not in page.html + admin.open("/logs").html
    admin.open("/routes")
    page = admin.submit("/routes/add", **{"for": EVIL}, host="x")
    assert page.status == 409 and "<script>alert" not in page.html
    admin.open("/routes")
    page = admin.submit("/routes/remove", having={"for": "to:big.test"})
    assert "Removed." in page.text and not server.ctl("route", "list")


def test_the_queue_as_a_whole(admin, server):
    admin.open("/queue")
    page = admin.submit("/queue/all", button=("verb", "pause"), domain="slow.test")
    assert "Changed." in page.text and "slow.test" in page.text and "Paused" in page.text
    page = admin.submit("/queue/all", button=("verb", "resume"), domain="slow.test")
    assert "Paused, mail waits" not in page.text
    page = admin.submit("/queue/all", button=("verb", "delete"))
    assert page.status == 409 and "Tick the box" in page.text
    admin.open("/queue")
    page = admin.submit("/queue/all", button=("verb", "retry"))
    assert "Changed." in page.text


def test_failed_logins(admin, server):
    server.add_account("henry@example.test")
    browser = Browser(server.web_port)
    for _ in range(3):
        assert browser.sign_in("henry@example.test", "wrong " + PASSWORD).status == 403
    rows = {r["who"]: r for r in server.ctl("failures", "list")}
    assert rows["henry@example.test"]["failures"] == 3
    assert rows["henry@example.test"]["stopped"] is False
    assert rows["127.0.0.0/24"]["kind"] == "network" and rows["127.0.0.0/24"]["failures"] >= 3
    page = admin.open("/logs")
    assert "henry@example.test" in page.text
    page = admin.submit("/logs/failures", having={"who": "henry@example.test"})
    assert "Changed." in page.text
    assert "henry@example.test" not in {r["who"] for r in server.ctl("failures", "list")}
    admin.open("/logs")
    page = admin.submit("/logs/failures", having={"verb": "block"}, who="127.0.0.1")
    assert "kept out" in page.text
    assert Browser(server.web_port).sign_in("henry@example.test", PASSWORD).status == 403
    page = admin.submit("/logs/failures", having={"who": "127.0.0.0/24"})
    assert "kept out" not in page.text
    assert Browser(server.web_port).sign_in("henry@example.test", PASSWORD).path == "/me"
    admin.open("/logs")
    assert admin.submit("/logs/failures", having={"verb": "block"}, who=EVIL).status == 409


def test_a_session_is_recorded(admin, server):
    admin.open("/logs")
    page = admin.submit("/logs/record", client="192.0.2.77")
    assert "line by line" in page.text
    admin.open("/logs")
    assert admin.submit("/logs/record", client="no address").status == 409


# --- what mail programs ask for -------------------------------------------------------------------
def test_autoconfig_and_autodiscover(server):
    browser = Browser(server.web_port)
    for path in ("/mail/config-v1.1.xml?emailaddress=alice%40example.test",
                 "/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress=a%40example.test"):
        page = browser.request("GET", path)
        assert page.status == 200 and "xml" in page.headers["Content-Type"]
        assert "<domain>example.test</domain>" in page.html
        assert f"<port>{server.ports['imaps']}</port>" in page.html
        assert page.html.index("imap") < page.html.index("pop3") < page.html.index("smtp")
    body = ("<Autodiscover><Request><EMailAddress>alice@example.test</EMailAddress></Request>"
            "</Autodiscover>").encode()
    page = browser.request("POST", "/autodiscover/autodiscover.xml", body,
                           {"Content-Type": "text/xml"})
    assert f"<Port>{server.ports['submissions']}</Port>" in page.html
    assert "<LoginName>alice@example.test</LoginName>" in page.html
    page = browser.request("POST", "/autodiscover/autodiscover.xml",
                           b"<EMailAddress>" + EVIL.encode(), {"Content-Type": "text/xml"})
    assert page.status == 200 and "<script>" not in page.html


def test_rules_of_tls_to_other_servers(server, admin):
    def rules():
        return server.ctl("get", "outbound.tls_rules")[0]["value"]
    admin.open("/routes")
    page = admin.submit("/routes/tls-rule", having={"rule": "verified"}, domain="example.com",
                        rule="verified")
    assert "Added." in page.text and rules() == "example.com=verified"
    admin.submit("/routes/tls-rule", having={"rule": "verified"}, domain=".example.org",
                 rule="none")
    admin.submit("/routes/tls-rule", having={"rule": "verified"}, domain="Example.com",
                 rule="dane")
    assert rules() == ".example.org=none, example.com=dane"
    for bad in ("a=b", "a, b", "not a domain"):
        admin.open("/routes")
        page = admin.submit("/routes/tls-rule", having={"rule": "verified"}, domain=bad,
                            rule="none")
        assert page.status == 409, bad
    admin.open("/routes")
    page = admin.submit("/routes/tls-rule", having={"domain": ".example.org"})
    assert "Removed." in page.text and rules() == "example.com=dane"
    admin.submit("/routes/tls-rule", having={"domain": "example.com"})
    assert rules() == ""


def test_what_accounts_take_up(server, admin):
    account = ImapAccount(server)
    session = account.open()
    session.append("INBOX", b"Subject: x\r\n\r\n" + b"x" * 3000, "")
    account.close()
    server.ctl("account", "quota", account.address, "4K")
    row = [a for a in server.ctl("account", "list") if a["address"] == account.address][0]
    assert row["messages"] == 1 and row["used"] > 3000
    assert {a["used"] for a in server.ctl("account", "list") if a["admin"]} == {0}
    assert server.ctl("account", "show", account.address)[0]["used"] == row["used"]
    page = admin.open("/accounts")
    assert "4.0 KB" in page.text and "<meter" in page.html
    assert "<meter" in admin.open(f"/account?a={query(account.address)}").html
