"""Mail to other servers: where it goes, and what is said on the way."""
import re
import socket
import uuid

import pytest

from internet import A, AAAA, CNAME, MX, PTR
from send_world import World, server_tls, settled, world  # noqa: F401

OWN6 = "2001:470:1::7"  # said to be ours; resolvers answer for ::1 and example networks themselves


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
