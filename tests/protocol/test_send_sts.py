"""MTA-STS (RFC 8461): each kind of policy against each kind of server, web servers that have none, and
what is remembered of one for how long."""
import json
import multiprocessing
import os
import shutil
import ssl
import struct
import tempfile

import pytest

import ipc
from appliance import UID_BASE, USERS
from internet import MX, TXT, A, PolicyHost, Sink, http
from signed import SignedZone
from send_world import World
from test_send_queue import Clock, advance
from test_send_tls import (BREAKS, CLEAR, EE, EE_BAD, EXPIRED, GOOD, NONE, OTHER, REFUSES, TLS, USELESS,
                           Certificates, break_off)

ENFORCE, TESTING, OFF = "enforce", "testing", "none"
WILD, ELSEWHERE, UNNAMED = "*.mx.test", "other.mx.test", "testing of another host"
# Web servers that have no policy, whatever DNS says.
MISSING, REDIRECT, HTML, HUGE, BROKEN, ENDLESS, NO_LENGTH, WRONG_NAME, OLD_CERTIFICATE, NOBODY = (
    "404", "redirection", "HTML", "too large", "no policy", "too many header fields", "no length",
    "certificate of another", "expired certificate", "no address")
TWO, NO_ID = "two records", "record without an id"  # the records in DNS

# policy, server, TLSA, rule, what becomes of the mail
TABLE = [
    (ENFORCE, GOOD, None, "", TLS), (ENFORCE, OTHER, None, "", "4.7.5"),
    (ENFORCE, EXPIRED, None, "", "4.7.5"), (ENFORCE, NONE, None, "", "4.7.0"),
    (ENFORCE, REFUSES, None, "", "4.7.0"), (ENFORCE, BREAKS, None, "", "4.7.5"),
    (WILD, GOOD, None, "", TLS), (WILD, OTHER, None, "", "4.7.5"),
    (ELSEWHERE, GOOD, None, "", "does not name it"),
    (TESTING, GOOD, None, "", TLS), (TESTING, OTHER, None, "", TLS),
    (TESTING, EXPIRED, None, "", TLS), (TESTING, NONE, None, "", CLEAR),
    (TESTING, REFUSES, None, "", CLEAR), (TESTING, BREAKS, None, "", CLEAR),
    (TESTING, OTHER, None, "verified", "4.7.5"), (TESTING, OTHER, None, "required", TLS),
    (UNNAMED, GOOD, None, "", TLS), (UNNAMED, NONE, None, "", CLEAR),
    (OFF, OTHER, None, "", TLS), (OFF, NONE, None, "", CLEAR),
    (ENFORCE, NONE, None, "none", CLEAR), (ENFORCE, NONE, None, "opportunistic", CLEAR),
    (ENFORCE, OTHER, None, "required", "4.7.5"), (ELSEWHERE, GOOD, None, "verified", "does not name"),
    (ENFORCE, OTHER, EE, "", TLS), (ENFORCE, GOOD, EE_BAD, "", "4.7.5"),
    (ELSEWHERE, GOOD, EE, "", TLS), (TESTING, GOOD, EE_BAD, "", "4.7.5"),
    (ENFORCE, GOOD, EE, "dane", TLS), (ENFORCE, OTHER, USELESS, "", "4.7.5"),
    (ENFORCE, GOOD, USELESS, "", TLS), (TESTING, OTHER, USELESS, "", TLS),
    (TESTING, NONE, USELESS, "", "4.7.0"),
    (MISSING, NONE, None, "", CLEAR), (REDIRECT, NONE, None, "", CLEAR),
    (HTML, NONE, None, "", CLEAR), (HUGE, NONE, None, "", CLEAR), (BROKEN, NONE, None, "", CLEAR),
    (ENDLESS, NONE, None, "", CLEAR), (NO_LENGTH, NONE, None, "", CLEAR),
    (WRONG_NAME, NONE, None, "", CLEAR), (OLD_CERTIFICATE, NONE, None, "", CLEAR),
    (NOBODY, NONE, None, "", CLEAR), (TWO, NONE, None, "", CLEAR), (NO_ID, NONE, None, "", CLEAR),
]
CASES = [f"{policy}, {server}, TLSA {tlsa}, {rule or 'default'}"
         for policy, server, tlsa, rule, _ in TABLE]


def policy(mode, *hosts, age=86400):
    return "".join(["version: STSv1\r\n", f"mode: {mode}\r\n", *(f"mx: {h}\r\n" for h in hosts),
                    f"max_age: {age}\r\n"])


def answer_of(kind, host):
    good = policy("enforce", host)
    return {ENFORCE: http(good), TESTING: http(policy("testing", host)), OFF: http(policy("none")),
            WILD: http(policy("enforce", WILD)), ELSEWHERE: http(policy("enforce", ELSEWHERE)),
            UNNAMED: http(policy("testing", ELSEWHERE)),
            MISSING: http(good, "404 Not Found"),
            REDIRECT: http(good, "301 Moved", more="Location: https://mta-sts.d0.test/\r\n"),
            HTML: http(good, kind="text/html"), HUGE: http(good + "x: y\r\n" * 20000),
            BROKEN: http("mode: enforce\r\n"), NO_LENGTH: http(good, length=False),
            ENDLESS: http(good, more="X-Y: z\r\n" * 8000)}.get(kind, http(good))


def zone_of(certificates, port):
    lines = []
    for i, (kind, server, tlsa, _, _) in enumerate(TABLE):
        host = f"h{i}.mx"
        lines += [f"d{i} MX 10 {host}", f"{host} A 127.0.3.{i + 1}",
                  f'_mta-sts.d{i} TXT "v=STSv1; {"no" if kind == NO_ID else "id=1"};"']
        if kind != NOBODY:
            lines.append(f"mta-sts.d{i} A 127.0.4.{i + 1}")
        if kind == TWO:
            lines.append(f'_mta-sts.d{i} TXT "v=STSv1; id=2"')
        if tlsa:
            lines += [f"_{port}._tcp.{host} TLSA {r}" for r in certificates.records(tlsa, server)]
    return lines


class PolicyCertificates(Certificates):
    """Also those of web servers."""

    def web(self, domain, kind=GOOD):
        name = "mta-sts.other.test" if kind == WRONG_NAME else f"mta-sts.{domain}"
        leaf = self.ca.leaf(name, days=-1 if kind == OLD_CERTIFICATE else 90)
        self.ca.write("web.pem", leaf.cert + leaf.chain)
        self.ca.write("web.key", leaf.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca.path("web.pem"), self.ca.path("web.key"))
        return context


@pytest.fixture(scope="module")
def folder():
    made = tempfile.mkdtemp(prefix="mailstead-sts-")
    os.chmod(made, 0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def certificates(folder):
    return PolicyCertificates(f"{folder}/ca")


@pytest.fixture(scope="module")
def world(folder, certificates):
    made = World()
    made.zone = SignedZone(folder, zone_of(certificates, made.port), [])
    made.peers, made.webs = [], []
    for i, (kind, server, _, _, _) in enumerate(TABLE):
        replies = {BREAKS: {"STARTTLS": break_off}, REFUSES: {"STARTTLS": "454 4.7.0 not now"}}
        made.peers.append(Sink(f"127.0.3.{i + 1}", made.port, tls=certificates.contexts.get(server),
                               replies=replies.get(server)))
        web_port = made.webs[0].port if made.webs else 0
        made.webs.append(PolicyHost(f"127.0.4.{i + 1}", web_port,
                                    certificates.web(f"d{i}.test", kind),
                                    answer_of(kind, f"h{i}.mx.test")))
    made.others += [*made.peers, *made.webs, made.zone]
    made.box.settings.update({
        "dns.server": made.zone.address, "dns.trust_anchor": made.zone.anchor,
        "tls.ca_file": certificates.ca.path("root.pem"), "mta_sts.port": str(made.webs[0].port)})
    with made:
        rules = [f"d{i}.test={row[3]}" for i, row in enumerate(TABLE) if row[3]]
        made.box.ctl("set", "outbound.tls_rules", ", ".join(rules))
        made.submit(*[f"bob@d{i}.test" for i in range(len(TABLE))])
        yield made


@pytest.mark.parametrize("i", range(len(TABLE)), ids=CASES)
def test_table(world, i):
    kind, server, _, rule, expected = TABLE[i]
    peer, web = world.peers[i], world.webs[i]
    if expected in (CLEAR, TLS):
        world.wait(lambda: peer.messages)
        assert peer.messages[0].is_tls == (expected == TLS)
    else:
        row = world.wait(lambda: [r for r in world.queue(f"d{i}.test") if r["reply"]])[0]
        assert row["state"] == "waiting" and expected in row["reply"], row
        assert not peer.messages and not any(c.startswith("MAIL") for c in peer.commands)
    if rule in ("none", "opportunistic", "dane") or kind in (TWO, NO_ID, NOBODY):
        assert web.connections == 0
    elif kind not in (WRONG_NAME, OLD_CERTIFICATE):
        # RFC 8461 3.3. Nothing is said to who has no certificate.
        assert web.asked[0] == ("/.well-known/mta-sts.txt", f"mta-sts.d{i}.test")
    else:
        assert web.connections == 1 and not web.asked
    if kind == TESTING and server == OTHER and not rule:
        assert peer.sessions == 2  # one that was to be verified


def test_what_is_wrong_is_in_the_log(world):
    log = world.box.log_text()
    for i, (kind, _, _, _, _) in enumerate(TABLE):
        if kind in (REDIRECT, HTML, HUGE, BROKEN, WRONG_NAME, OLD_CERTIFICATE, NOBODY):
            world.wait(lambda: f"event=policy-failed domain=d{i}.test" in world.box.log_text())
    assert "redirections are not followed" in log and "text/plain" in log


# row of the table -> exit status, and what is said of the host
PROBES = [
    ((ENFORCE, GOOD, None, "", TLS), 0, "policy", "verified by MTA-STS: mail goes over TLS, its "),
    ((ENFORCE, OTHER, None, "", "4.7.5"), 1, "certificate", "it names another host"),
    ((ENFORCE, EXPIRED, None, "", "4.7.5"), 1, "certificate", "it has expired"),
    ((ENFORCE, NONE, None, "", "4.7.0"), 1, "policy", "verified by MTA-STS: it offers no TLS"),
    ((ENFORCE, REFUSES, None, "", "4.7.0"), 1, "STARTTLS", "454 4.7.0 not now"),
    ((ELSEWHERE, GOOD, None, "", "does not name it"), 1, "policy", "does not name it"),
    ((TESTING, OTHER, None, "", TLS), 0, "policy", "opportunistic by outbound.tls: mail goes over TLS, not"),
    ((TESTING, NONE, None, "", CLEAR), 0, "policy", "in the clear, since it offers no TLS"),
    ((TESTING, BREAKS, None, "", CLEAR), 0, "policy", "in the clear, since"),
    ((ENFORCE, OTHER, EE, "", TLS), 0, "policy", "dane by DANE: mail goes over TLS"),
    ((ENFORCE, GOOD, EE_BAD, "", "4.7.5"), 1, "policy", "dane by DANE"),
    ((ENFORCE, NONE, None, "none", CLEAR), 0, "policy", "none by outbound.tls_rules"),
]


@pytest.mark.parametrize("row,status,what,found", PROBES)
def test_probe_says_how_mail_would_go(world, row, status, what, found):
    """The same as the table, and why."""
    i = TABLE.index(row)
    done = world.box.run_ctl("probe", f"d{i}.test")
    rows = {r["check"]: r for r in json.loads(done.stdout)}
    assert done.returncode == status, rows
    assert rows["mail"]["status"] == ("failed" if status else "ok")
    assert found in rows[f"h{i}.mx.test, {what}"]["found"], rows
    assert f"h{i}.mx.test" in rows["MX"]["found"] and "DNSSEC" in rows["MX"]["found"]
    if row[3] != "none":
        assert {ENFORCE: "enforce", TESTING: "testing"}.get(row[0], "") in rows["MTA-STS"]["found"]
    if row[2]:
        assert "1 records" in rows[f"h{i}.mx.test, TLSA"]["found"]
    assert all(r["advice"] for r in rows.values() if r["status"] != "ok")


def test_probe_of_what_is_not_there(world):
    done = world.box.run_ctl("probe", "no-such.test")
    assert done.returncode == 1 and "does not exist" in json.loads(done.stdout)[0]["found"]
    assert world.box.run_ctl("probe", "a..b").returncode != 0
    missing = next(i for i, row in enumerate(TABLE) if row[0] == MISSING)
    done = world.box.run_ctl("probe", f"d{missing}.test")
    rows = {r["check"]: r for r in json.loads(done.stdout)}
    assert done.returncode == 0 and "404" in rows["MTA-STS, web server"]["found"]


# --- what is remembered --------------------------------------------------------------------------
class Life(World):
    """A domain with a policy that changes, under a clock that is moved."""

    def __init__(self, certificates):
        super().__init__()
        self.names = certificates
        self.web = PolicyHost("127.0.5.1", 0, certificates.web("far.test"), b"")
        self.peer = Sink("127.0.5.2", self.port, tls=certificates.contexts[OTHER])
        self.others += [self.web, self.peer]
        self.dns.records.update({("far.test", MX): [(10, "h.mx.test")],
                                 ("h.mx.test", A): ["127.0.5.2"],
                                 # That there is no record is remembered for longer.
                                 ("_mta-sts.far.test", TXT): [b"nothing"],
                                 ("mta-sts.far.test", A): ["127.0.5.1"]})
        self.box.settings.update({"tls.ca_file": certificates.ca.path("root.pem"),
                                  "mta_sts.port": str(self.web.port)})
        self.clock = Clock()
        self.box.env = {"MAILSTEAD_CLOCK": self.clock.path}
        self.count = 0

    def publish(self, number, mode, age=604800):
        self.dns.records[("_mta-sts.far.test", TXT)] = [f"v=STSv1; id={number};".encode()]
        self.web.answer = http(policy(mode, "h.mx.test", age=age))

    def send(self):
        """Whether a message of its own goes out; the other way is that it waits."""
        # A failure is believed for a moment.
        self.wait(lambda: [r for r in self.box.ctl("status")
                           if r.get("process") == "smtpd-send" and r.get("destinations") == 0])
        self.count += 1
        rcpt = f"bob{self.count}@far.test"
        self.submit(rcpt)

        def known():
            for message in self.peer.messages:
                if rcpt in message.recipients:
                    return "sent"
            rows = [r for r in self.queue("far.test") if r["recipient"] == rcpt and r["reply"]]
            return rows and "waits"

        came = self.wait(known)
        if came == "waits":
            self.box.ctl("queue", "delete", "domain", "far.test")
        return came == "sent"


@pytest.fixture(scope="module")
def life(certificates):
    with Life(certificates) as made:
        yield made
    os.unlink(made.clock.path)


def test_a_policy_is_kept_until_it_changes_or_expires(life):
    """Its server has a certificate of another name, so what holds can be seen."""
    assert life.send()  # no record
    assert life.web.connections == 0
    life.publish(1, "enforce", age=10 * 86400)
    advance(life, 120)
    assert not life.send()
    assert life.web.connections == 1
    # Kept: also when the web server has another one, which DNS does not announce ...
    life.web.answer = http(policy("none"))
    advance(life, 120)
    assert not life.send()
    assert life.web.connections == 1
    # ... when the process begins anew ...
    pid = life.box.kill("smtpd-send")
    life.wait(lambda: life.box.pids().get("smtpd-send") not in (None, pid))
    assert not life.send()
    assert life.web.connections == 1
    # ... when somebody takes the record away, or the web server ...
    life.dns.records[("_mta-sts.far.test", TXT)] = [b"nothing"]
    advance(life, 120)
    assert not life.send()
    life.publish(2, "none")
    life.web.answer = http("", "503 Unavailable")
    advance(life, 120)
    assert not life.send()
    life.wait(lambda: life.web.connections == 2)
    # ... which is not asked again at once.
    advance(life, 120)
    assert not life.send()
    assert life.web.connections == 2
    # It ends when it says so ...
    life.publish(3, "none")
    advance(life, 360)
    assert life.send()
    # ... or a new one is not renewed in time.
    life.publish(4, "enforce", age=3600)
    advance(life, 360)
    assert not life.send()
    life.web.answer = http("", "503 Unavailable")
    advance(life, 7200)
    assert life.send()


def test_a_policy_is_renewed_once_a_day(life):
    life.publish(5, "enforce", age=10 * 86400)
    advance(life, 360)
    assert not life.send()
    before = life.web.connections
    life.web.answer = http(policy("enforce", "h.mx.test", age=10 * 86400))
    advance(life, 90000)
    assert not life.send()
    life.wait(lambda: life.web.connections == before + 1)


def test_only_who_sends_may_ask(life):
    """Whoever could ask would have a way out to the network."""
    if os.geteuid() != 0:
        pytest.skip("one uid")
    def ask(queue):
        os.setgroups([UID_BASE + len(USERS)])
        os.setgid(UID_BASE + USERS.index("in"))
        os.setuid(UID_BASE + USERS.index("in"))
        with ipc.Client(f"{life.box.folder}/run/smtpd-fetch/fetch.sock") as client:
            try:
                client.ask(60, ipc.text("far.test") + struct.pack(">I", 0))
            except ipc.Refused as why:
                queue.put(why.why)

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=ask, args=(queue,))
    child.start()
    assert "only smtpd-send" in queue.get(timeout=30)
    child.join()
