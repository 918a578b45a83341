"""check-network and send-test against a world on loopback."""
import json

import pytest

from appliance import Appliance
from internet import A, MX, PTR, Dns, Sink

OWN = "127.0.3.1"
LISTS = ("good.lists.test", "bad.lists.test")


class World:
    def __init__(self):
        self.dns = Dns()
        self.sink = Sink("127.0.3.2", 0)
        self.silent = Sink("127.0.3.3", self.sink.port, replies={"CONNECT": "554 go away"})
        self.box = Appliance(accounts=("alice",), settings={
            "dns.trust_anchor": "none", "retry.schedule": "1s", "dns.server": self.dns.address,
            "outbound.port": str(self.sink.port), "outbound.bind": OWN,
            "network.probe_domains": "nobody.test, dead.test, far.test",
            "network.blocklists": ", ".join(LISTS)})
        self.reset()

    def reset(self):
        self.dns.records.clear()
        self.dns.broken.clear()
        self.dns.mail_domain("dead.test", "127.0.3.9")  # nobody listens there
        self.dns.mail_domain("far.test", self.sink.address)
        self.dns.records[("mail.example.test", A)] = [OWN]
        self.dns.records[("1.3.0.127.in-addr.arpa", PTR)] = ["mail.example.test"]
        for name in LISTS:
            self.dns.records[(f"2.0.0.127.{name}", A)] = ["127.0.0.2"]

    def check(self):
        done = self.box.run_ctl("check-network")
        rows = json.loads(done.stdout)
        assert all(r["advice"] for r in rows if r["status"] != "ok"), rows
        return done.returncode, {r["check"]: r for r in rows}


@pytest.fixture(scope="module")
def world():
    made = World()
    with made.box:
        made.box.wait_for(lambda: any(r.get("signing-domains") for r in made.box.ctl("status")))
        yield made
    made.dns.close()
    made.sink.close()
    made.silent.close()


def test_all_is_well(world):
    status, rows = world.check()
    assert list(rows) == ["address, IPv4", "address, IPv6", "name", "reverse name, IPv4",
                          "reverse name, IPv6", "clock", "port 25",
                          "blocklist good.lists.test", "blocklist bad.lists.test"]
    assert {c: r["status"] for c, r in rows.items() if "IPv6" not in c} == {
        "address, IPv4": "ok", "name": "ok", "reverse name, IPv4": "ok", "clock": "unknown",
        "port 25": "ok", "blocklist good.lists.test": "ok", "blocklist bad.lists.test": "ok"}
    assert rows["address, IPv4"]["found"] == OWN
    assert "127.0.3.2" in rows["port 25"]["found"] and "220" in rows["port 25"]["found"]
    assert status == 0


@pytest.mark.parametrize("change,check,want,word", [
    (lambda d: d.records.pop(("1.3.0.127.in-addr.arpa", PTR)), "reverse name, IPv4", "failed",
     "provider"),
    (lambda d: d.records.update({("1.3.0.127.in-addr.arpa", PTR): ["dsl.provider.test"]}),
     "reverse name, IPv4", "failed", "another name"),
    (lambda d: d.records.update({("mail.example.test", A): ["127.0.3.77"]}), "name", "failed",
     "another address"),
    (lambda d: d.records.pop(("mail.example.test", A)), "name", "failed", "no address"),
    (lambda d: d.broken.add("mail.example.test"), "name", "unknown", "dns.server"),
    (lambda d: d.records.update({("1.3.0.127.bad.lists.test", A): ["127.0.0.4"]}),
     "blocklist bad.lists.test", "failed", "smarthost"),
    (lambda d: d.records.update({("1.3.0.127.bad.lists.test", A): ["127.255.255.254"]}),
     "blocklist bad.lists.test", "unknown", "answer"),
    (lambda d: d.records.pop(("2.0.0.127.bad.lists.test", A)), "blocklist bad.lists.test",
     "unknown", "resolver"),
    (lambda d: d.records.pop(("far.test", MX)), "port 25", "failed", "smarthost"),
    (lambda d: d.mail_domain("far.test", "127.0.3.3"), "port 25", "warning", "wants none"),
])
def test_what_is_wrong_is_found(world, change, check, want, word):
    change(world.dns)
    try:
        status, rows = world.check()
    finally:
        world.reset()
    assert rows[check]["status"] == want and word in rows[check]["advice"], rows[check]
    assert status == (1 if any(r["status"] == "failed" for r in rows.values()) else 0)
    assert want != "failed" or status == 1


def is_blocked(world):
    return [r["blocked"] for r in world.box.ctl("status") if r.get("process") == "smtpd-send"]


def test_status_does_not_say_that_sending_works(world):
    world.dns.records.pop(("far.test", MX))
    try:
        assert world.check()[0] == 1
    finally:
        world.reset()
    assert is_blocked(world) == [True]
    # With another way out it does not matter; nor when somebody was reached.
    world.box.ctl("route", "add", "all", "relay.test", "tls=none")
    world.box.ctl("route", "remove", "all")
    assert is_blocked(world) == [False]


def test_with_a_smarthost_port_25_may_be_closed(world):
    world.dns.records.pop(("far.test", MX))
    world.box.ctl("route", "add", "all", "relay.test", "tls=none")
    try:
        status, rows = world.check()
        spf = [r for r in world.box.ctl("domain", "dns", "example.test") if r["purpose"] == "spf"]
    finally:
        world.box.ctl("route", "remove", "all")
        world.reset()
    assert status == 0 and rows["port 25"]["status"] == "warning"
    assert "smarthost" in spf[0]["why"]
    assert all("smarthost" not in r["why"] for r in world.box.ctl("domain", "dns", "example.test"))


# --- send-test ---------------------------------------------------------------------------------
def run_test(world, *words):
    done = world.box.run_ctl("send-test", *words)
    return done.returncode, json.loads(done.stdout)


def test_a_test_message_is_followed(world):
    world.sink.messages.clear()
    status, rows = run_test(world, "bob@far.test")
    assert status == 0 and [r["event"] for r in rows] == ["accepted", "sent"]
    assert rows[1]["to"] == "bob@far.test" and "250" in rows[1]["text"]
    assert rows[0]["from"] == "postmaster@example.test" and rows[0]["id"] == rows[1]["id"]
    assert world.sink.messages[0].sender == "postmaster@example.test"
    assert b"d=example.test" in world.sink.messages[0].data
    assert b"Subject: Test message from mail.example.test" in world.sink.messages[0].data
    trace = world.box.ctl("trace", rows[0]["id"])
    assert [r["event"] for r in trace] == ["sent", "accepted"]


def test_a_test_message_to_oneself(world):
    status, rows = run_test(world, "alice@example.test", "--from", "alice@example.test")
    assert status == 0 and [r["event"] for r in rows] == ["accepted", "delivered"]
    assert rows[0]["from"] == "alice@example.test"


@pytest.mark.parametrize("reply,word", [
    ("550 5.1.1 nobody", "refused"), ("450 4.7.1 greylisted", "tried again")])
def test_a_test_message_that_is_not_taken(world, reply, word):
    world.sink.replies["RCPT"] = reply
    try:
        status, answer = run_test(world, "bob@far.test")
    finally:
        world.sink.replies.clear()
    assert status == 1 and word in answer["text"]


@pytest.mark.parametrize("words", [
    ["nobody@example.test"], ["what"], ["bob@far.test", "--from", "eve@far.test"],
    ["bob@far.test", "--from"], ["bob@far.test", "--what", "alice@example.test"]])
def test_a_test_message_that_cannot_be(world, words):
    status, answer = run_test(world, *words)
    assert status == 1 and answer["text"]


def test_records_need_the_servers_name(world):
    world.box.stop()
    name = world.box.settings.pop("server.hostname")
    world.box.write_conf()
    world.box.start()
    done = world.box.run_ctl("domain", "dns", "example.test")
    assert done.returncode == 1 and b"mail.example.test" in done.stdout
    world.box.settings["server.hostname"] = name
