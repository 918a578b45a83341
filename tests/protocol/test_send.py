"""Mail to other servers: where it goes, what is said on the way, what becomes of each answer."""
import email
import email.policy
import poplib
import re
import smtplib
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import uuid

import pytest

from appliance import PASSWORD, Appliance, tls_context
from internet import A, AAAA, CNAME, MX, PTR, Dns, Sink

OWN6 = "2001:470:1::7"  # said to be ours; resolvers answer for ::1 and example networks themselves
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


# --- plain delivery ----------------------------------------------------------------------------
def test_a_message_arrives_as_it_was_sent(world):
    domain, (sink,) = world.domain({})
    body = "Subject: dots\r\n\r\n.\r\n..\r\n.a\r\nend without line end"
    world.submit(f"bob@{domain}", text=body)
    world.wait(lambda: sink.messages)
    message = sink.messages[0]
    assert message.sender == "alice@example.test" and message.recipients == [f"bob@{domain}"]
    assert message.data.endswith(b"\r\n\r\n.\r\n..\r\n.a\r\nend without line end\r\n")
    assert message.helo == "mail.example.test"
    assert re.search(r"SIZE=\d+", message.mail_options)
    world.wait(lambda: not world.queue(domain))
    assert not world.inbox()


def test_recipients_of_one_domain_share_a_transaction(world):
    domain, (sink,) = world.domain({})
    world.submit(*[f"r{i}@{domain}" for i in range(60)])
    world.wait(lambda: sum(len(m.recipients) for m in sink.messages) == 60)
    assert sorted(len(m.recipients) for m in sink.messages) == [10, 50]


def test_connections_are_used_again(world):
    domain, (sink,) = world.domain({})
    for i in range(30):
        world.submit(f"bob{i}@{domain}")
    world.wait(lambda: len(sink.messages) == 30)
    assert sink.sessions <= 10
    assert len({m.recipients[0] for m in sink.messages}) == 30


@pytest.mark.parametrize("options", [
    {"extensions": []}, {"replies": {"EHLO": "502 no"}}, {"extensions": ["PIPELINING"]}])
def test_old_servers(world, options):
    domain, (sink,) = world.domain(options)
    world.submit(f"a@{domain}", f"b@{domain}")
    world.wait(lambda: sink.messages)
    assert sorted(sink.messages[0].recipients) == [f"a@{domain}", f"b@{domain}"]


def test_a_large_message(world):
    domain, (sink,) = world.domain({})
    text = "Subject: large\r\n\r\n" + ("x" * 70 + "\r\n.\r\n") * 8000
    world.submit(f"bob@{domain}", text=text)
    world.wait(lambda: sink.messages)
    assert sink.messages[0].data.endswith(text[-1000:].encode())
    assert sink.messages[0].data.count(b"\n.\r\n") == 8000


# --- where it goes -----------------------------------------------------------------------------
def test_hosts_are_tried_by_preference(world):
    domain, (second,) = world.domain(None, {})
    world.submit(f"bob@{domain}")
    world.wait(lambda: second.messages)


@pytest.mark.parametrize("replies", [
    {"CONNECT": "421 busy"}, {"CONNECT": "554 go away"}, {"CONNECT": None}, {"EHLO": "421 closing"},
    {"CONNECT": "hello"}, {"MAIL": None}])
def test_the_next_host_when_one_cannot(world, replies):
    domain, (first, second) = world.domain({"replies": replies}, {})
    world.submit(f"bob@{domain}")
    world.wait(lambda: second.messages)
    assert first.sessions >= 1 and not first.messages


def test_without_mx_the_domain_itself(world):
    domain = f"d{uuid.uuid4().hex[:8]}.test"
    _, (sink,) = world.domain({}, name=f"unused-{domain}")
    world.dns.records[(domain, A)] = [sink.address]
    world.submit(f"bob@{domain}")
    world.wait(lambda: sink.messages)


def test_names_that_stand_for_others(world):
    """RFC 5321 section 5.1: a domain, and a mail server, that are CNAMEs; and a ring of them."""
    domain, (sink,) = world.domain({})
    alias, host, ring = (f"{kind}-{domain}" for kind in ("alias", "host", "ring"))
    world.dns.records[(alias, CNAME)] = [domain]
    world.submit(f"bob@{alias}")
    world.wait(lambda: len(sink.messages) == 1)
    assert sink.messages[0].recipients == [f"bob@{alias}"]
    world.dns.records[(f"m.{host}", CNAME)] = [f"mx1.{domain}"]
    world.dns.records[(host, MX)] = [(5, f"m.{host}")]
    world.submit(f"bob@{host}")
    world.wait(lambda: len(sink.messages) == 2)
    for i in range(3):
        world.dns.records[(f"n{i}.{ring}", CNAME)] = [f"n{(i + 1) % 3}.{ring}"]
    world.submit(f"bob@n0.{ring}")
    row = world.wait(lambda: [r for r in world.queue(f"n0.{ring}") if r["reply"]], 60)[0]
    assert row["state"] == "waiting" and "4.4." in row["reply"]
    world.box.ctl("queue", "delete", row["id"])


def test_equal_servers_share_the_load(world):
    domain, sinks = world.domain({}, {}, {})
    world.dns.records[(domain, MX)] = [(10, f"mx{i + 1}.{domain}") for i in range(3)]
    for i in range(40):
        other = f"s{i}.{domain}"
        world.dns.records[(other, MX)] = world.dns.records[(domain, MX)]
        world.submit(f"bob@{other}")
    world.wait(lambda: sum(len(s.messages) for s in sinks) == 40)
    assert all(len(s.messages) > 2 for s in sinks)


def test_an_address_literal(world):
    _, (sink,) = world.domain({})
    world.submit(f"bob@[{sink.address}]")
    world.wait(lambda: sink.messages)
    assert sink.messages[0].recipients == [f"bob@[{sink.address}]"]


def test_domains_that_take_no_mail(world):
    domain = f"d{uuid.uuid4().hex[:8]}.test"
    world.dns.records[(domain, MX)] = [(0, "")]
    world.submit(f"bob@{domain}")
    message, fields = world.bounce()
    assert fields[0]["Status"] == "5.1.10" and "takes no mail" in message.as_string()
    world.submit("bob@does-not-exist.test")
    message, fields = world.bounce()
    assert fields[0]["Status"] == "5.1.2" and fields[0]["Action"] == "failed"
    # A mail server that is ourselves, but does not know the domain.
    world.dns.records[(domain, MX)] = [(10, "mail.example.test")]
    other = f"e{domain}"
    world.dns.records[(other, MX)] = [(10, "mail.example.test")]
    world.submit(f"bob@{other}")
    assert world.bounce()[1][0]["Status"] == "5.4.6"


def test_a_server_that_is_ourselves_by_its_address():
    """RFC 5321 section 5.1: whatever its name, it would come back here."""
    with World() as world:
        world.box.settings["outbound.port"] = str(world.box.ports["smtp"])
        world.box.write_conf()
        world.box.ctl("reload")
        world.dns.mail_domain("loop.test", "127.0.0.1")
        world.submit("bob@loop.test")
        assert world.bounce()[1][0]["Status"] == "5.4.6"


def ipv6(world):
    return [r["ipv6"] for r in world.box.ctl("status") if "ipv6" in r][0]


@pytest.mark.parametrize("name,back,setting,is_on", [
    ("us.test", OWN6, "auto", True), ("us.test", "::2", "auto", False), (None, None, "auto", False),
    (None, None, "on", True), ("us.test", OWN6, "off", False)])
def test_ipv6_only_with_a_name_that_leads_back(name, back, setting, is_on):
    world = World()
    digits = socket.inet_pton(socket.AF_INET6, OWN6).hex()
    reverse = ".".join(reversed(digits)) + ".ip6.arpa"
    world.dns.records[(reverse, PTR)] = [name] if name else []
    if back:
        world.dns.records[(name, AAAA)] = [back]
    world.box.settings.update({"outbound.bind": f"127.0.0.1, {OWN6}", "outbound.ipv6": setting})
    with world:
        if setting == "auto":
            world.wait(lambda: "event=ipv6 " in world.box.log_text())
        assert ipv6(world) == is_on
        domain, (sink,) = world.domain({})
        world.dns.records[(f"mx1.{domain}", AAAA)] = ["::1"]
        world.submit(f"bob@{domain}")
        world.wait(lambda: sink.messages)
        assert ((f"mx1.{domain}", AAAA) in world.dns.asked) == is_on


def test_names_that_cannot_be_found_now(world):
    domain, (sink,) = world.domain({})
    world.dns.broken.add(domain)
    world.submit(f"bob@{domain}")
    row = world.wait(lambda: [r for r in world.queue(domain) if r["tries"] > 0 and r["reply"]])[0]
    assert "4.4.3" in row["reply"] and row["state"] == "waiting"
    world.dns.broken.discard(domain)
    world.wait(lambda: sink.messages, 90)


# --- answers -----------------------------------------------------------------------------------
def test_one_recipient_is_refused_the_other_not(world):
    domain, (sink,) = world.domain({})
    sink.replies[f"RCPT no@{domain}"] = "550 5.1.1 no such user"
    world.submit(f"yes@{domain}", f"no@{domain}")
    world.wait(lambda: sink.messages)
    assert sink.messages[0].recipients == [f"yes@{domain}"]
    message, fields = world.bounce()
    assert len(fields) == 1 and fields[0]["Final-Recipient"] == f"rfc822; no@{domain}"
    assert fields[0]["Status"] == "5.1.1" and "550 5.1.1 no such user" in \
        fields[0]["Diagnostic-Code"]
    text = list(message.iter_parts())[0].get_content()
    assert "does not exist there" in text and "no such user" in text
    original = list(message.iter_parts())[2]
    assert "Subject: test" in original.as_string()
    assert not world.queue(domain)


@pytest.mark.parametrize("replies,status", [
    ({"MAIL": "550 5.7.1 not you"}, "5.7.1"), ({"DATA": "554 no"}, "5.0.0"),
    ({"END": "552 5.3.4 too big"}, "5.3.4"), ({"RCPT": "553 5.1.3 what"}, "5.1.3")])
def test_permanent_answers_bounce(world, replies, status):
    domain, (sink,) = world.domain({"replies": replies})
    world.submit(f"a@{domain}", f"b@{domain}")
    _, fields = world.bounce()
    assert [f["Status"] for f in fields] == [status, status]
    assert not sink.messages and not world.queue(domain)


@pytest.mark.parametrize("replies", [
    {"MAIL": ["450 4.7.1 greylisted"]}, {"RCPT": ["451 4.7.1 greylisted"]},
    {"RCPT": ["552 5.5.3 too many"]}, {"DATA": ["451 later"]}, {"END": ["452 4.3.1 full"]},
    {"END": ["421 4.3.2 restarting"]}, {"DATA": [None]}, {"END": [None]}, {"RCPT": ["421 busy"]}])
def test_temporary_answers_are_tried_again(world, replies):
    domain, (sink,) = world.domain({"replies": replies})
    world.submit(f"bob@{domain}")
    world.wait(lambda: sink.messages, 90)
    world.wait(lambda: not world.queue(domain))
    assert len(sink.messages) == 1 and not world.inbox()


def test_a_good_message_behind_a_refused_one(world):
    domain, (sink,) = world.domain({})
    sink.replies[f"RCPT no@{domain}"] = "550 5.1.1 no"
    for name in ("no", "yes", "no", "yes"):
        world.submit(f"{name}@{domain}")
    world.wait(lambda: len(sink.messages) == 2)
    world.wait(lambda: not world.queue(domain))


def test_what_the_server_cannot_do(world):
    domain, (sink,) = world.domain({"extensions": ["SIZE 1000"]})
    world.submit(f"bob@{domain}", text="Subject: x\r\n\r\n" + "y" * 900 + "\r\n" + "z" * 900)
    assert world.bounce()[1][0]["Status"] == "5.3.4"
    world.submit(f"bob@{domain}", text="Content-Type: multipart/signed; boundary=b\r\n\r\n"
                 "--b\r\n\r\n\u00e4\r\n--b--\r\n".encode(), options=["BODY=8BITMIME"])
    message, fields = world.bounce()
    assert fields[0]["Status"] == "5.6.3" and "signed" in fields[0]["Diagnostic-Code"]
    assert not sink.messages


# --- TLS ---------------------------------------------------------------------------------------
def test_tls_where_it_is_offered(world, server_tls):
    domain, (sink,) = world.domain({"tls": server_tls})
    world.submit(f"bob@{domain}")
    world.wait(lambda: sink.messages)
    assert sink.messages[0].is_tls
    assert [c for c in sink.commands if c.startswith("EHLO")] == ["EHLO mail.example.test"] * 2


def break_handshake(session):
    session.send("220 go\r\n")
    session.send(b"this is no TLS at all\r\n")
    raise OSError("scripted end")


def inject(session):
    """Replies in the clear behind the 220, for the session under TLS."""
    session.send("220 go\r\n250-sink.test\r\n250 STARTTLS\r\n250 injected\r\n")
    return False


@pytest.mark.parametrize("starttls", ["454 not now", break_handshake])
def test_in_the_clear_rather_than_not_at_all(world, server_tls, starttls):
    domain, (sink,) = world.domain({"tls": server_tls, "replies": {"STARTTLS": starttls}})
    world.submit(f"bob@{domain}")
    world.wait(lambda: sink.messages)
    assert not sink.messages[0].is_tls


def test_replies_before_the_handshake_are_not_believed(world, server_tls):
    domain, (first, second) = world.domain(
        {"tls": server_tls, "replies": {"STARTTLS": inject}}, {})
    world.submit(f"bob@{domain}")
    world.wait(lambda: second.messages)
    assert not first.messages and "MAIL" not in " ".join(first.commands)


# --- hostile servers ---------------------------------------------------------------------------
def endless_lines(session):
    for _ in range(100000):
        session.send("250-again\r\n" * 100)
    return False


def long_line(session):
    for _ in range(1000):
        session.send("250-" + "x" * 60000)
    return False


@pytest.mark.parametrize("where", ["CONNECT", "EHLO", "MAIL", "END"])
@pytest.mark.parametrize("what", [endless_lines, long_line, "\0\0\0\0", "999 what", "250-a\r\n251 b"])
def test_servers_that_talk_nonsense(world, where, what):
    domain, (sink,) = world.domain({"replies": {where: [what]}})
    pid = world.box.pids()["smtpd-send"]
    world.submit(f"bob@{domain}")
    world.wait(lambda: sink.messages, 90)
    assert world.box.pids()["smtpd-send"] == pid


# --- the queue's life --------------------------------------------------------------------------
def test_nobody_answers_and_it_is_given_up():
    world = World()
    world.box.settings.update({"retry.lifetime": "3s"})
    with world:
        domain, _ = world.domain(None)
        world.submit(f"bob@{domain}")
        message, fields = world.bounce()
        assert fields[0]["Action"] == "failed" and fields[0]["Status"] == "5.4.1"
        assert "connecting" in message.as_string()
        assert not world.queue(domain)


def test_users_are_told_that_it_takes_long():
    world = World()
    world.box.settings.update({"retry.notice": "1s", "retry.schedule": "1s, 1s, 10m"})
    with world:
        domain, _ = world.domain(None)
        world.submit(f"bob@{domain}")
        message, fields = world.bounce()
        assert fields[0]["Action"] == "delayed" and "Will-Retry-Until" in fields[0]
        assert message["Subject"] == "Your message is not delivered yet"
        row = world.wait(lambda: [r for r in world.queue(domain) if r["tries"] == 3])[0]
        assert row["state"] == "waiting"
        assert not world.inbox()


def test_a_killed_sender_goes_on_and_hammers_nobody(world):
    reached = threading.Event()
    domain, (sink,) = world.domain({"replies": {
        "END": [lambda s: reached.set() or time.sleep(60)]}})
    world.submit(f"bob@{domain}")
    world.wait(reached.is_set)
    row = world.queue(domain)[0]
    assert row["tries"] == 1 and row["next"] > row["arrival"]
    pid = world.box.kill("smtpd-send")
    world.wait(lambda: world.box.pids().get("smtpd-send") not in (None, pid))
    world.wait(lambda: sink.messages, 90)
    world.wait(lambda: not world.queue(domain))
    assert len(sink.messages) == 1


def test_what_waits_survives_a_restart():
    world = World()
    domain, _ = world.domain(None)
    with world:
        world.submit(*[f"r{i}@{domain}" for i in range(20)])
        world.wait(lambda: all(r["tries"] > 0 for r in world.queue(domain)))
        world.box.stop()
        sink = Sink("127.0.1.2", world.port)
        world.box.start()
        world.wait(lambda: sum(len(m.recipients) for m in sink.messages) == 20, 90)
        assert world.wait(lambda: not world.queue(domain))
        assert not world.inbox()
        sink.close()


def test_the_end_waits_for_no_name_server():
    world = World()
    domain, (sink,) = world.domain({})
    world.dns.silent |= {domain}
    with world:
        world.submit(f"bob@{domain}")
        world.wait(lambda: (domain, MX) in world.dns.asked)
        world.box.stop()
        # Nobody gave up on the answer, and the attempt does not count.
        assert "smtp-deferred" not in world.box.log_text()
        world.dns.silent.clear()
        world.box.start()
        world.wait(lambda: sink.messages)
        assert "tries=1 " in re.search("event=smtp-sent .*", world.box.log_text())[0]


def test_a_dead_domain_delays_nobody(world):
    dead, _ = world.domain(None)
    alive, (sink,) = world.domain({})
    for i in range(40):
        world.submit(*[f"r{i}-{k}@{dead}" for k in range(20)])
    start = time.monotonic()
    world.submit(f"bob@{alive}")
    world.wait(lambda: sink.messages)
    assert time.monotonic() - start < 20
    rows = world.wait(lambda: [r for r in world.queue(dead)])
    assert len(rows) == 800
    for qid in {r["id"] for r in rows}:
        world.box.ctl("queue", "delete", qid)
    assert not world.queue(dead)


def test_hold_release_return_retry_delete(world):
    domain, (sink,) = world.domain({"replies": {"RCPT": "451 4.7.1 later"}})
    world.submit(f"bob@{domain}")
    row = world.wait(lambda: [r for r in world.queue(domain) if r["reply"]])[0]
    assert row["host"].startswith("mx1." + domain)
    # An attempt that is under way may still end behind the hold.
    world.box.ctl("queue", "hold", row["id"])
    world.wait(lambda: world.queue(domain)[0]["state"] == "held")
    sink.replies.clear()
    tried = world.queue(domain)[0]["tries"]
    world.box.ctl("queue", "hold", row["id"])
    assert world.queue(domain)[0]["tries"] == tried and not sink.messages
    world.box.ctl("queue", "release", row["id"])
    world.wait(lambda: sink.messages)
    world.wait(lambda: not world.queue(domain))
    dead, _ = world.domain(None)
    world.submit(f"bob@{dead}")
    row = world.wait(lambda: [r for r in world.queue(dead) if r["reply"]])[0]
    world.box.ctl("queue", "hold", row["id"])
    world.box.ctl("queue", "return", row["id"])
    message, fields = world.bounce()
    assert fields[0]["Status"] == "5.7.0" and "returned by the administrator" in \
        message.as_string()
    world.submit(f"bob@{dead}")
    row = world.wait(lambda: world.queue(dead))[0]
    world.box.ctl("queue", "delete", row["id"])
    assert not world.queue(dead) and not world.inbox()
    for verb in ("hold", "release", "return", "retry", "delete", "show"):
        assert world.box.run_ctl("queue", verb, row["id"]).returncode == 1


# --- what senders ask to be told (RFC 3461) ----------------------------------------------------
def test_success_is_told_where_the_server_does_not(world):
    domain, (sink,) = world.domain({})
    world.submit(f"bob@{domain}", options=["ENVID=QQ+2B1", "RET=HDRS"],
                 rcpt_options=["NOTIFY=SUCCESS", f"ORCPT=rfc822;Bob+2Bx@{domain}"])
    message, fields = world.bounce()
    assert fields[0]["Action"] == "relayed" and fields[0]["Status"].startswith("2.")
    assert fields[0]["Original-Recipient"] == f"rfc822;Bob+x@{domain}"
    parts = list(message.iter_parts())
    assert parts[1].get_payload()[0]["Original-Envelope-Id"] == "QQ+1"
    assert parts[2].get_content_type() == "text/rfc822-headers"
    assert not world.queue(domain) and len(sink.messages) == 1


def test_a_server_that_tells_by_itself_is_told_what_to_tell(world):
    domain, (sink,) = world.domain({"extensions": ["PIPELINING", "DSN"]})
    world.submit(f"bob@{domain}", options=["ENVID=QQ+2B1", "RET=FULL"],
                 rcpt_options=["NOTIFY=SUCCESS,FAILURE", f"ORCPT=rfc822;Bob@{domain}"])
    world.wait(lambda: sink.messages)
    assert "RET=FULL" in sink.messages[0].mail_options
    assert "ENVID=QQ+2B1" in sink.messages[0].mail_options
    assert sink.messages[0].rcpt_options == [f"NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob@{domain}"]
    world.wait(lambda: not world.queue(domain))
    assert not world.inbox()


def test_who_wants_to_hear_nothing_hears_nothing(world):
    domain, _ = world.domain({"replies": {"RCPT": "550 5.1.1 nobody"}})
    world.submit(f"bob@{domain}", rcpt_options=["NOTIFY=NEVER"])
    world.wait(lambda: "event=smtp-failed" in world.box.log_text() and not world.queue(domain))
    assert not world.inbox()


# --- what comes back later ---------------------------------------------------------------------
def report(kind, about):
    return (f"From: MAILER-DAEMON@far.test\r\nTo: alice@example.test\r\nSubject: about {about}\r\n"
            f"MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type={kind}; boundary=b\r\n"
            "\r\n--b\r\nContent-Type: text/plain\r\n\r\nsorry\r\n"
            f"--b\r\nContent-Type: message/{kind}\r\n\r\n"
            f"Feedback-Type: abuse\r\nFinal-Recipient: rfc822; {about}\r\n\r\n--b--\r\n")


@pytest.mark.parametrize("kind", ["delivery-status", "feedback-report", "disposition-notification"])
def test_late_bounces_and_complaints_are_delivered_and_never_answered(world, kind):
    """RFC 3464, RFC 5965, RFC 8098: from nobody, to a user, on port 25."""
    about = f"{uuid.uuid4().hex[:8]}@far.test"
    with smtplib.SMTP("127.0.0.1", world.box.ports["smtp"]) as client:
        client.sendmail("", ["alice@example.test"], report(kind, about))
        # One for a user who is not there is refused, not answered.
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("", ["nobody@example.test"], report(kind, about))
    came = world.wait(world.inbox)
    assert [m["Subject"] for m in came] == [f"about {about}"]
    assert came[0].get_content_type() == "multipart/report" and came[0]["Return-Path"] == "<>"
    world.wait(lambda: not [r for r in world.box.ctl("queue", "list") if r["sender"] == ""])


@pytest.mark.parametrize("ret,size,kind", [
    ("RET=FULL", 100, "message/rfc822"), ("RET=HDRS", 100, "text/rfc822-headers"),
    (None, 100, "message/rfc822"), ("RET=FULL", 400000, "text/rfc822-headers")])
def test_what_of_the_message_comes_back(world, ret, size, kind):
    domain, _ = world.domain({"replies": {"RCPT": "550 5.1.1 no such user"}})
    text = "Subject: orig\r\n\r\n" + ("y" * 78 + "\r\n") * (size // 80)
    world.submit(f"bob@{domain}", text=text, options=[ret] if ret else [],
                 rcpt_options=["NOTIFY=FAILURE"])
    message, _ = world.bounce()
    assert list(message.iter_parts())[2].get_content_type() == kind
    assert "Subject: orig" in list(message.iter_parts())[2].as_string()


def test_a_recipient_who_wants_no_delay_notice():
    world = World()
    world.box.settings.update({"retry.notice": "1s", "retry.schedule": "1s, 1s, 10m"})
    with world:
        domain, _ = world.domain(None)
        world.submit(f"bob@{domain}", rcpt_options=["NOTIFY=FAILURE,SUCCESS"])
        world.wait(lambda: [r for r in world.queue(domain) if r["tries"] == 3 and r["reply"]])
        assert not world.inbox()
