"""An appliance that sends, a name server and mail servers that do as they are told.

Test files import World and the fixtures they use."""
import email
import email.policy
import poplib
import smtplib
import ssl
import subprocess
import tempfile
import uuid

import pytest

from appliance import PASSWORD, Appliance, tls_context
from internet import Dns, Sink


FAST = {"dns.trust_anchor": "none", "retry.schedule": "1s", "retry.lifetime": "5d"}


@pytest.fixture(scope="module")
def server_tls():
    folder = tempfile.mkdtemp(prefix="mailstead-tls-")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "9", "-subj", "/CN=sink.test",
                    "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"], check=True,
                   stderr=subprocess.DEVNULL)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    return context


class World:
    """An appliance, a name server, and mail servers on 127.0.0.x that share a port: with World()."""

    def __init__(self):
        self.dns = Dns()
        self.first = Sink("127.0.0.250", 0)
        self.port = self.first.port
        self.sinks, self.next = [self.first], 2
        self.others = []  # what else is closed at the end
        self.last = ()
        self.box = Appliance(accounts=("alice",), settings={
            **FAST, "dns.server": self.dns.address, "outbound.port": str(self.port)})

    def __enter__(self):
        try:
            self.box.__enter__()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *why):
        try:
            self.box.__exit__(*why)
        finally:
            self.close()

    def close(self):
        for each in [*self.sinks, *self.others, self.dns]:
            each.close()

    def domain(self, *sinks, name=None):
        """A domain of its own with these options of a Sink each; (domain, sinks). None: nobody."""
        name = name or f"d{uuid.uuid4().hex[:8]}.test"
        made, addresses = [], []
        for options in sinks:
            address = f"127.0.1.{self.next}"
            self.next += 1
            addresses.append(address)
            if options is not None:
                made.append(Sink(address, self.port, **options))
        self.sinks += made
        self.dns.mail_domain(name, *addresses)
        return name, made

    def submit(self, *rcpts, sender="alice@example.test", text="Subject: test\r\n\r\nhello\r\n",
               options=(), rcpt_options=()):
        client = smtplib.SMTP_SSL("127.0.0.1", self.box.ports["submissions"],
                                  context=tls_context())
        client.login("alice@example.test", PASSWORD)
        self.last = rcpts
        client.sendmail(sender, list(rcpts), text, mail_options=options,
                        rcpt_options=rcpt_options)
        client.quit()

    def wait(self, what, seconds=30):
        return self.box.wait_for(what, seconds)

    def inbox(self):
        """All messages of alice, as objects; they are taken out."""
        client = poplib.POP3_SSL("127.0.0.1", self.box.ports["pop3s"], context=tls_context())
        client.user("alice@example.test")
        client.pass_(PASSWORD)
        found = []
        for i in range(len(client.list()[1])):
            data = b"\r\n".join(client.retr(i + 1)[1]) + b"\r\n"
            found.append(email.message_from_bytes(data, policy=email.policy.default))
            client.dele(i + 1)
        client.quit()
        return found

    def bounce(self):
        """The one notice that comes, and its delivery status fields, one dict a recipient."""
        came = []

        def about_the_last():
            """One of the test before may come late."""
            came.extend(self.inbox())
            return [m for m in came if any(r.encode() in m.as_bytes() for r in self.last)]

        messages = self.wait(about_the_last)
        assert len(messages) == 1
        message = messages[0]
        assert message["Return-Path"] == "<>" and message["Auto-Submitted"] == "auto-replied"
        assert message.get_content_type() == "multipart/report"
        status = list(message.iter_parts())[1]
        return message, [dict(part.items()) for part in status.get_payload()[1:]]

    def queue(self, domain):
        return [r for r in self.box.ctl("queue", "list") if r["recipient"].endswith("@" + domain)]


@pytest.fixture(scope="module")
def world():
    with World() as made:
        yield made


@pytest.fixture(autouse=True)
def settled(request):
    yield
    if "world" in request.fixturenames:
        request.getfixturevalue("world").inbox()
