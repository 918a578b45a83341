"""TLS to other servers: each rule against each kind of server, and what DNS says of it (DANE)."""
import hashlib
import os
import shutil
import ssl
import tempfile
import warnings

import pytest

from ca import CA, openssl
from internet import Sink
from signed import SignedZone
from send_world import World

# What a server shows: nothing (no STARTTLS), certificates, or trouble.
GOOD, OTHER, EXPIRED, OLD, BREAKS, REFUSES, NONE, INJECTS = (
    "good", "other name", "expired", "only TLS 1.0", "breaks the handshake", "refuses", "no TLS",
    "injects")
CLEAR, TLS = "in the clear", "over TLS"  # else: the code of the reply with which it waits
EE, EE_FULL, EE_WHOLE, EE_BAD, TA, USELESS, FORGED = (
    "3 1 1", "3 0 2", "3 1 0", "3 1 1 of another", "2 1 1", "0 0 1 and 3 9 1", "forged")
SIGNED, ALIAS, PLAIN = "signed", "alias", "plain"

# rule ("": none, the default is opportunistic), server, TLSA, zone, what becomes of the mail
TABLE = [
    ("", GOOD, None, SIGNED, TLS), ("", OTHER, None, SIGNED, TLS), ("", EXPIRED, None, PLAIN, TLS),
    ("", OLD, None, SIGNED, TLS), ("", BREAKS, None, SIGNED, CLEAR),
    ("", REFUSES, None, SIGNED, CLEAR), ("", NONE, None, SIGNED, CLEAR),
    ("opportunistic", NONE, None, SIGNED, CLEAR), ("opportunistic", GOOD, EE_BAD, SIGNED, TLS),
    ("none", GOOD, None, SIGNED, CLEAR), ("none", GOOD, EE_BAD, SIGNED, CLEAR),
    ("none", BREAKS, EE, SIGNED, CLEAR), ("none", GOOD, FORGED, SIGNED, CLEAR),
    ("required", GOOD, None, SIGNED, TLS), ("required", OTHER, None, SIGNED, TLS),
    ("required", EXPIRED, None, PLAIN, TLS), ("required", OLD, None, SIGNED, "4.7.5"),
    ("required", BREAKS, None, SIGNED, "4.7.5"), ("required", REFUSES, None, SIGNED, "4.7.0"),
    ("required", NONE, None, SIGNED, "4.7.0"), ("required", GOOD, EE_BAD, SIGNED, "4.7.5"),
    ("verified", GOOD, None, PLAIN, TLS), ("verified", OTHER, None, SIGNED, "4.7.5"),
    ("verified", EXPIRED, None, SIGNED, "4.7.5"), ("verified", OLD, None, SIGNED, "4.7.5"),
    ("verified", NONE, None, SIGNED, "4.7.0"), ("verified", OTHER, EE, SIGNED, TLS),
    ("verified", OTHER, USELESS, SIGNED, "4.7.5"), ("verified", GOOD, USELESS, SIGNED, TLS),
    ("dane", GOOD, EE, SIGNED, TLS), ("dane", GOOD, None, SIGNED, "4.7.5"),
    ("dane", GOOD, EE, PLAIN, "4.7.5"),
    ("", GOOD, EE, SIGNED, TLS), ("", GOOD, EE_FULL, SIGNED, TLS),
    ("", GOOD, EE_WHOLE, SIGNED, TLS), ("", OTHER, EE, SIGNED, TLS),
    ("", EXPIRED, EE, SIGNED, TLS), ("", GOOD, EE_BAD, SIGNED, "4.7.5"),
    ("", GOOD, TA, SIGNED, TLS), ("", OTHER, TA, SIGNED, "4.7.5"),
    ("", EXPIRED, TA, SIGNED, "4.7.5"), ("", NONE, EE, SIGNED, "4.7.0"),
    ("", REFUSES, EE, SIGNED, "4.7.0"), ("", BREAKS, EE, SIGNED, "4.7.5"),
    ("", OLD, EE, SIGNED, "4.7.5"), ("", OTHER, USELESS, SIGNED, TLS),
    ("", NONE, USELESS, SIGNED, "4.7.0"), ("", GOOD, FORGED, SIGNED, "4.7.5"),
    ("", GOOD, EE_BAD, PLAIN, TLS), ("", NONE, EE, PLAIN, CLEAR),
    ("", INJECTS, None, SIGNED, "4.7.5"), ("", INJECTS, EE, SIGNED, "4.7.5"),
    ("required", INJECTS, None, SIGNED, "4.7.5"), ("verified", INJECTS, None, SIGNED, "4.7.5"),
    ("", GOOD, EE, ALIAS, TLS), ("", GOOD, EE_BAD, ALIAS, "4.7.5"),
]
CASES = [f"{rule or 'default'}, {server}, TLSA {tlsa}, {zone}"
         for rule, server, tlsa, zone, _ in TABLE]
UNFORGED, FORGERY = "ab" * 32, "cd" * 32


def domain_of(i):
    return f"d{i}.plain.test" if TABLE[i][3] == PLAIN else f"d{i}.test"


class Certificates:
    """Contexts of servers, and the TLSA records that belong to them."""

    def __init__(self, folder):
        self.folder, self.ca = folder, CA(folder)
        self.leaves = {GOOD: self.ca.leaf("*.mx.test", "*.mx.plain.test"),
                       OTHER: self.ca.leaf("other.test"),
                       EXPIRED: self.ca.leaf("*.mx.test", "*.mx.plain.test", days=-1)}
        self.contexts = {}
        for kind, leaf in self.leaves.items():
            self.ca.write("full.pem", leaf.cert + leaf.chain + self.ca.root)
            self.ca.write("full.key", leaf.key)
            for name in (kind, OLD) if kind == GOOD else (kind,):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                if name == OLD:
                    context.set_ciphers("ALL:@SECLEVEL=0")
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
                context.load_cert_chain(self.ca.path("full.pem"), self.ca.path("full.key"))
                self.contexts[name] = context
        for kind in (REFUSES, BREAKS, INJECTS):
            self.contexts[kind] = self.contexts[GOOD]

    @staticmethod
    def key_of(cert):
        return openssl("pkey", "-pubin", "-outform", "DER",
                       data=openssl("x509", "-noout", "-pubkey", data=cert))

    def records(self, tlsa, server):
        leaf = self.leaves.get(server, self.leaves[GOOD])
        key = self.key_of(leaf.cert)
        if tlsa == USELESS:
            return ["0 0 1 " + "11" * 32, "3 9 1 " + "22" * 32, "3 1 1 33"]
        return [{EE: "3 1 1 " + hashlib.sha256(key).hexdigest(),
                 EE_FULL: "3 0 2 " + hashlib.sha512(
                     openssl("x509", "-outform", "DER", data=leaf.cert)).hexdigest(),
                 EE_WHOLE: "3 1 0 " + key.hex(), EE_BAD: "3 1 1 " + "11" * 32,
                 TA: "2 1 1 " + hashlib.sha256(self.key_of(self.ca.root)).hexdigest(),
                 FORGED: "3 1 1 " + UNFORGED}[tlsa]]


def break_off(session):
    """Takes STARTTLS, and the handshake of nobody."""
    session.send("220 go\r\n")
    session.sock.recv(4096)
    raise OSError("scripted end")


def inject(session):
    """Words in the clear that are to be taken for those under TLS."""
    session.send("220 go\r\n250-sink.test\r\n250 SIZE\r\n")
    session.sock.recv(4096)
    raise OSError("scripted end")


# Of domains of their own: host -> server, TLSA.
MORE = {"two-bad": (GOOD, EE_BAD), "two-plain": (NONE, None), "two-good": (OTHER, EE),
        "away": (GOOD, EE), "must": (OTHER, EE), "must-useless": (GOOD, USELESS),
        "must-bad": (GOOD, EE_BAD)}
# Domain -> its hosts, best first.
MORE_DOMAINS = {"fallback": ("two-bad", "two-plain"), "second": ("two-bad", "two-good"),
                "away": ("away",), "must": ("must",), "must-useless": ("must-useless",),
                "must-bad": ("must-bad",)}


def more_lines(certificates, port):
    lines = [f"{domain} MX {10 * (i + 1)} {host}.mx" for domain, hosts in MORE_DOMAINS.items()
             for i, host in enumerate(hosts)]
    for i, (host, (server, tlsa)) in enumerate(MORE.items()):
        lines.append(f"{host}.mx A 127.0.7.{i + 1}")
        if host == "away":  # they are to be signed, by somebody who does not answer
            lines += ["_tcp.away.mx NS nobody.test.", "nobody A 127.0.7.254",
                      f"_tcp.away.mx DS 12345 13 2 {'ab' * 32}"]
        elif tlsa:
            lines += [f"_{port}._tcp.{host}.mx TLSA {r}" for r in certificates.records(tlsa, server)]
    return lines


def zones(certificates, port):
    lines = {SIGNED: more_lines(certificates, port), PLAIN: []}
    for i, (_, server, tlsa, zone, _) in enumerate(TABLE):
        out = lines[PLAIN if zone == PLAIN else SIGNED]
        host = f"h{i}.mx"
        out += [f"d{i} MX 10 {'alias-' if zone == ALIAS else ''}{host}", f"{host} A 127.0.2.{i + 1}"]
        if zone == ALIAS:
            out.append(f"alias-{host} CNAME {host}")
        if tlsa:
            out += [f"_{port}._tcp.{host} TLSA {r}" for r in certificates.records(tlsa, server)]
    return lines


@pytest.fixture(scope="module")
def world():
    folder = tempfile.mkdtemp(prefix="mailstead-dane-")
    os.chmod(folder, 0o755)
    certificates = Certificates(f"{folder}/ca")
    made = World()
    lines = zones(certificates, made.port)
    made.zone = SignedZone(folder, lines[SIGNED], lines[PLAIN],
                           [(UNFORGED[:56].upper(), FORGERY[:56].upper())])
    rules = [f"{domain_of(i)}={row[0]}" for i, row in enumerate(TABLE) if row[0]]
    made.box.settings.update({
        "dns.server": made.zone.address, "dns.trust_anchor": made.zone.anchor,
        "tls.ca_file": certificates.ca.path("root.pem")})
    made.peers = []
    for i, (_, server, _, _, _) in enumerate(TABLE):
        replies = {BREAKS: {"STARTTLS": break_off}, INJECTS: {"STARTTLS": inject},
                   REFUSES: {"STARTTLS": "454 4.7.0 not now"}}
        made.peers.append(Sink(f"127.0.2.{i + 1}", made.port, tls=certificates.contexts.get(server),
                               replies=replies.get(server)))
    made.more = {host: Sink(f"127.0.7.{i + 1}", made.port, tls=certificates.contexts.get(server),
                            extensions=["PIPELINING", "REQUIRETLS"])
                 for i, (host, (server, _)) in enumerate(MORE.items())}
    made.others += [*made.peers, *made.more.values(), made.zone]
    with made:
        made.box.ctl("set", "outbound.tls_rules", ", ".join(rules))
        for i in range(0, len(TABLE), 50):
            made.submit(*[f"bob@{domain_of(k)}" for k in range(i, min(i + 50, len(TABLE)))])
        yield made
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("i", range(len(TABLE)), ids=CASES)
def test_table(world, i):
    peer, expected = world.peers[i], TABLE[i][4]
    if expected in (CLEAR, TLS):
        world.wait(lambda: peer.messages)
        assert peer.messages[0].is_tls == (expected == TLS)
        # Behind a handshake that failed, the clear is another connection.
        assert peer.sessions == (2 if TABLE[i][1] == BREAKS and "STARTTLS" in peer.commands else 1)
        return
    row = world.wait(lambda: [r for r in world.queue(domain_of(i)) if r["reply"]])[0]
    assert row["state"] == "waiting" and expected in row["reply"], row
    assert not peer.messages and not any(c.startswith("MAIL") for c in peer.commands)


def no_mail(*sinks):
    return not any(c.startswith("MAIL") for sink in sinks for c in sink.commands)


def test_each_host_has_its_own_rule(world):
    """RFC 7672 2.2: TLSA records of one host say nothing about another."""
    world.submit("bob@fallback.test", "bob@second.test")
    world.wait(lambda: world.more["two-plain"].messages and world.more["two-good"].messages)
    assert not world.more["two-plain"].messages[0].is_tls
    assert world.more["two-good"].messages[0].is_tls and no_mail(world.more["two-bad"])


def test_tlsa_records_that_cannot_be_had_make_it_wait(world):
    """RFC 7672 2.1.2: who keeps the answer from us must not get the mail."""
    world.submit("bob@away.test")
    row = world.wait(lambda: [r for r in world.queue("away.test") if r["reply"]], 90)[0]
    assert "4.7.5" in row["reply"] and "TLSA" in row["reply"] and row["state"] == "waiting"
    assert world.more["away"].sessions == 0


def test_requiretls_and_tlsa_records(world):
    """Records that fit are the proof that REQUIRETLS wants (RFC 8689 4.2.1); useless ones are not."""
    world.submit("bob@must.test", options=["REQUIRETLS"])
    world.wait(lambda: world.more["must"].messages)
    assert "REQUIRETLS" in world.more["must"].messages[0].mail_options
    world.submit("bob@must-bad.test", options=["REQUIRETLS"])
    world.wait(lambda: [r for r in world.queue("must-bad.test") if "4.7.5" in r["reply"]])
    world.submit("bob@must-useless.test", options=["REQUIRETLS"])
    assert world.bounce()[1][0]["Status"] == "5.7.30"
    assert no_mail(world.more["must-useless"], world.more["must-bad"])


@pytest.mark.parametrize("row,ends", [
    (("", GOOD, EE, SIGNED, TLS), "dane by DANE"),
    (("verified", GOOD, None, PLAIN, TLS), "verified by outbound.tls_rules"),
    (("", GOOD, None, SIGNED, TLS), "opportunistic by outbound.tls"),
    (("", NONE, None, SIGNED, CLEAR), "none, opportunistic by outbound.tls")])
def test_how_it_went_is_in_trace_and_log(world, row, ends):
    i = TABLE.index(row)
    rcpt = f"bob@{domain_of(i)}"
    sent = world.wait(lambda: [r for r in world.box.ctl("trace", rcpt) if r["event"] == "sent"])[0]
    assert sent["tls"].endswith(ends) and f"127.0.2.{i + 1}" in sent["server"]
    assert row[1] == NONE or sent["tls"].startswith("TLSv1.3 TLS_")
    line = [x for x in world.box.log_text().splitlines()
            if "event=smtp-sent" in x and f"to={rcpt}" in x][0]
    assert f'tls="{sent["tls"]}"' in line
    assert not [r for r in world.box.ctl("trace", rcpt) if r["event"] == "accepted" and r["tls"]]


def test_a_rule_for_all_below_and_the_more_exact_one(world):
    """Rules hold from the next connection on; a wrong one is refused."""
    clear = next(i for i, row in enumerate(TABLE) if row[:2] == ("required", NONE))
    domain = domain_of(clear)
    world.box.ctl("set", "outbound.tls_rules", ".test=required")
    world.submit(f"eve@{domain}")
    row = world.wait(lambda: [r for r in world.queue(domain)
                              if r["reply"] and r["recipient"].startswith("eve@")])[0]
    assert "4.7.0" in row["reply"] and not world.peers[clear].messages
    world.box.ctl("set", "outbound.tls_rules", f".test=required, {domain}=opportunistic")
    world.wait(lambda: world.peers[clear].messages)
    # The same, a rule at a time.
    ctl = world.box.ctl
    ctl("tls-rule", "remove", domain)
    ctl("tls-rule", "add", ".test", "verified")
    ctl("tls-rule", "add", "B\u00fccher.test", "dane")
    assert ctl("tls-rule", "list") == [{"domain": ".test", "tls": "verified"},
                                       {"domain": "xn--bcher-kva.test", "tls": "dane"}]
    assert ctl("get", "outbound.tls_rules")[0]["value"] == \
        ".test=verified, xn--bcher-kva.test=dane"
    for words in (["add", "x.test", "perhaps"], ["add", "a..b", "none"], ["remove", "x.test"],
                  ["add", "..test", "none"]):
        assert world.box.run_ctl("tls-rule", *words).returncode != 0, words
    ctl("tls-rule", "remove", ".test")
    ctl("tls-rule", "remove", "xn--bcher-kva.test")
    assert not ctl("tls-rule", "list")
    for wrong in ("x.test", "x.test=perhaps", "=none", "x_y=none,", ".=none"):
        assert world.box.run_ctl("set", "outbound.tls_rules", wrong).returncode != 0, wrong
