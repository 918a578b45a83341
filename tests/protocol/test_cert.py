"""Certificates as an administrator and mail programs see them: four doors, a report before anything
is installed, the choice by name and by kind of key, changes under open sessions."""
import hashlib
import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import tempfile

import pytest

from appliance import BIN, Appliance, tls_context
from ca import CA, openssl

MAIL, OTHER = "mail.example.test", "imap.other.test"
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.S)


@pytest.fixture(scope="module")
def ca():
    folder = tempfile.mkdtemp(prefix="mailstead-ca-")
    os.chmod(folder, 0o755)  # keyd may be another user
    yield CA(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def box(ca):
    with Appliance(settings={"tls.ca_file": ca.path("root.pem")}, accounts=("alice",)) as running:
        for name, leaf in {
                "by-name": ca.leaf(OTHER), "shop": ca.leaf(MAIL),
                "pair-ec": ca.leaf(MAIL, "b.example.test"),
                "pair-rsa": ca.leaf(MAIL, "b.example.test", kind="rsa")}.items():
            running.ctl("cert", "import", name, "--install", "--force", content=leaf.full)
        running.listeners = {
            "pop3s": {"certificate": "default, by-name"},
            "imaps": {"certificate": "pair-ec, pair-rsa"},
            "submissions": {"client_certificate": "ask", "certificate": "shop"}}
        running.write_conf()
        assert running.ctl("reload") == {"ok": True, "text": ""}
        yield running
        assert "PRIVATE KEY" not in running.log_text()


def der_of(pem):
    """Of the first certificate in it."""
    text = pem.decode() if isinstance(pem, bytes) else pem
    return ssl.PEM_cert_to_DER_cert(CERTIFICATE.search(text).group())


def served(box, listener, name=MAIL):
    """The certificate that a client gets which asks for this name, in DER."""
    with socket.create_connection(("127.0.0.1", box.ports[listener]), timeout=20) as sock:
        with tls_context().wrap_socket(sock, server_hostname=name) as secure:
            return secure.getpeercert(binary_form=True)


def chain_of(box, listener, *options):
    """The certificates that openssl s_client shows, and all it says."""
    text = openssl("s_client", "-connect", f"127.0.0.1:{box.ports[listener]}", "-showcerts",
                   *options, check=False).decode(errors="replace")
    return [der_of(pem) for pem in CERTIFICATE.findall(text)], text


def wait_served(box, listener, cert, name=MAIL):
    want = der_of(cert)
    box.wait_for(lambda: served(box, listener, name) == want)


def findings(rows):
    return [(r["check"], r["result"], r["text"]) for r in rows if "check" in r]


def refused(box, *args, **kwargs):
    done = box.run_ctl(*args, **kwargs)
    assert done.returncode == 1, done.stdout
    assert b"PRIVATE KEY" not in done.stdout + done.stderr
    return done.stdout.decode()


def state_of(box, identity):
    rows = [r for r in box.ctl("cert", "list") if r["id"] == identity]
    return rows[0] if rows else None


# --- the first start ---------------------------------------------------------------------------
def test_the_first_start_makes_a_certificate(box):
    row = state_of(box, "default")
    assert row["origin"] == "self-signed" and row["key"] == "ECDSA P-256"
    assert MAIL in row["names"] and 800 < row["days-left"] < 825
    shown = box.ctl("cert", "export-chain", "default")[0]["pem"]
    assert der_of(shown) == served(box, "pop3s", "unknown.example.test")
    assert oct(os.stat(f"{box.state}/keys").st_mode & 0o777) == "0o700"
    assert oct(os.stat(f"{box.state}/keys/default").st_mode & 0o777) == "0o700"


# --- doors -------------------------------------------------------------------------------------
def joined(ca, leaf, form):
    """(content, password) of an import in a form."""
    if form == "pem":
        return leaf.full, None
    if form == "reversed":
        return ca.root + ca.middle + leaf.cert + leaf.key, None
    if form == "der":
        der = openssl("pkey", "-outform", "DER", data=leaf.key)
        return b"".join(der_of(c) for c in (ca.root, leaf.cert, ca.middle)) + der, None
    if form == "pkcs7":
        ca.write("p7.pem", ca.root + ca.middle + leaf.cert)
        return openssl("crl2pkcs7", "-nocrl", "-certfile", ca.path("p7.pem")) + leaf.key, None
    if form == "pkcs12":
        return ca.pkcs12(leaf, "pass word"), "pass word"
    if form == "old-pkcs12":
        return ca.pkcs12(leaf, "pass word", "-legacy"), "pass word"
    locked = openssl("pkey", "-aes256", "-passout", "pass:pass word", data=leaf.key)
    return leaf.cert + leaf.chain + locked, "pass word"


@pytest.mark.parametrize("form", ["pem", "reversed", "der", "pkcs7", "pkcs12", "old-pkcs12",
                                  "encrypted"])
def test_import_in_every_form_is_served_with_its_chain_in_order(box, ca, form):
    leaf = ca.leaf(MAIL)
    content, password = joined(ca, leaf, form)
    before = served(box, "submissions")
    rows = box.ctl("cert", "import", "shop", *(["--password-stdin"] if password else []),
                   secret=password, content=content)
    assert [f for f in findings(rows) if f[1] != "ok"] == []
    assert rows[0]["what"] == "candidate" and rows[0]["chain"] == 2
    assert rows[0]["sha256"] == hashlib.sha256(der_of(leaf.cert)).hexdigest()
    assert served(box, "submissions") == before
    assert state_of(box, "shop")["candidate"]
    assert box.ctl("cert", "install", "shop")[0]["what"] == "current"
    wait_served(box, "submissions", leaf.cert)
    chain, _ = chain_of(box, "submissions")
    assert chain == [der_of(leaf.cert), der_of(ca.middle)]
    row = state_of(box, "shop")
    assert row["origin"] == "import" and row["previous"] and not row["candidate"]


def test_a_request_is_pending_until_its_answer_comes(box, ca):
    shown = box.ctl("cert", "csr", "pending", MAIL, "www.example.test", "--o", "Bücher & Co",
                    "--ou", "Mail", "--l", "Bern", "--st", "BE", "--c", "CH")
    request = shown[1]["pem"].encode()
    text = openssl("req", "-noout", "-text", "-verify", "-nameopt", "utf8", data=request).decode()
    assert "C=CH" in text and "O=Bücher & Co" in text and f"CN={MAIL}" in text
    assert f"DNS:{MAIL}, DNS:www.example.test" in text
    assert box.ctl("cert", "csr", "pending")[1]["pem"].encode() == request
    assert state_of(box, "pending")["pending"]
    assert "pending" in refused(box, "cert", "csr", "pending", MAIL)
    # The answer to somebody else's request.
    assert "key of the request" in refused(
        box, "cert", "answer", "pending", content=ca.leaf(MAIL).cert)
    assert "what the CA sends back" in refused(box, "cert", "answer", "pending", content=request)
    answer = ca.answer(request, MAIL, "www.example.test")
    rows = box.ctl("cert", "answer", "pending", "--install", content=ca.middle + answer)
    assert rows[0]["chain"] == 2
    row = state_of(box, "pending")
    assert row["state"] == "installed" and row["origin"] == "csr" and not row["pending"]
    assert box.ctl("cert", "export-chain", "pending")[0]["pem"].encode() == answer + ca.middle
    assert "nothing is pending" in refused(box, "cert", "answer", "pending", content=answer)
    box.ctl("cert", "remove", "pending")
    assert state_of(box, "pending") is None


def test_self_signed_with_names_and_kind(box):
    rows = box.ctl("cert", "new", "own", "a.example.test", "*.b.example.test", "192.0.2.7",
                   "--key", "rsa3072", "--days", "30", "--install", "--force")
    assert rows[0]["key"] == "RSA 3072" and rows[0]["days-left"] in (29, 30)
    assert rows[0]["names"] == "a.example.test, *.b.example.test, 192.0.2.7"
    assert ("chain", "warning", "self-signed: no authority vouches for it") in findings(rows)
    assert any(check == "client" and "Thunderbird" in text for check, _, text in findings(rows))
    box.ctl("cert", "remove", "own")
    for words in (["x y"], ["-"], ["--key", "rsa512"], ["--days", "0"], ["--c", "Swiss"],
                  ["--what"], ["a.test", "--key"]):
        refused(box, "cert", "new", "own", *words)
    assert state_of(box, "own") is None


# --- what is refused ---------------------------------------------------------------------------
def test_what_is_wrong_is_said_and_the_old_one_stays(box, ca):
    good = ca.leaf(MAIL)
    box.ctl("cert", "import", "shop", "--install", content=good.full)
    wait_served(box, "submissions", good.cert)
    leaf, other = ca.leaf(MAIL), ca.leaf(MAIL)
    assert "not the key of" in refused(
        box, "cert", "import", "shop", "--install", content=leaf.cert + other.key)
    assert "no private key" in refused(box, "cert", "import", "shop", content=leaf.cert)
    assert "no certificate" in refused(box, "cert", "import", "shop", content=leaf.key)
    assert "empty" in refused(box, "cert", "import", "shop")
    assert "password is needed" in refused(
        box, "cert", "import", "shop", content=ca.pkcs12(leaf, "secret"))
    assert "does not open" in refused(box, "cert", "import", "shop", "--password-stdin",
                                      secret="wrong", content=ca.pkcs12(leaf, "secret"))
    expired = ca.leaf(MAIL, days=-1)
    assert "expired" in refused(box, "cert", "import", "shop", "--install", content=expired.full)
    assert "expired" in refused(box, "cert", "install", "shop")
    wrong = ca.leaf("www.example.test")
    assert "is not one of its names" in refused(
        box, "cert", "import", "shop", "--install", content=wrong.full)
    assert "more than" in refused(
        box, "cert", "import", "shop", content=b"x" * (1000 * 1024 + 1))
    assert served(box, "submissions") == der_of(good.cert)
    # Somebody who knows what he does may have it.
    box.ctl("cert", "install", "shop", "--force")
    wait_served(box, "submissions", wrong.cert)
    box.ctl("cert", "rollback", "shop")
    wait_served(box, "submissions", good.cert)


def test_the_report_without_a_change(box, ca):
    broken = ca.leaf(MAIL)
    rows = box.ctl("cert", "check", "shop", "--file", "-", content=broken.key + broken.cert)
    assert rows[0]["what"] == "file"
    assert any(check == "chain" and "missing" in text for check, _, text in findings(rows))
    assert any(check == "client" and "Android" in text for check, _, text in findings(rows))
    rows = box.ctl("cert", "check", "shop")
    assert rows[0]["what"] == "current"


def test_ids_are_words(box):
    for name in ("../x", "A", "a/b", "-x", "a" * 65, ""):
        refused(box, "cert", "show", name)
        refused(box, "cert", "new", name, MAIL)
    assert "no certificate missing" in refused(box, "cert", "show", "missing")
    assert "no certificate missing" in refused(box, "cert", "rollback", "missing")
    assert "listeners use it" in refused(box, "cert", "remove", "shop")
    assert "no such verb" in refused(box, "cert", "steal", "shop")


def test_mutants_are_refused_or_understood_and_keyd_lives(box, ca):
    pid = box.pids()["keyd"]
    leaf = ca.leaf(MAIL)
    rng = random.Random(7)
    seeds = [leaf.full, joined(ca, leaf, "der")[0], ca.pkcs12(leaf, "x")]
    for i in range(60):
        data = bytearray(seeds[i % 3])
        for _ in range(rng.randrange(1, 5)):
            data[rng.randrange(len(data))] = rng.choice(b"\x00\x01\x30\x7f\x80\xff-\n")
        del data[rng.choice([len(data), rng.randrange(len(data))]):]
        done = box.run_ctl("cert", "import", "mutant", "--password-stdin", secret="x",
                           content=bytes(data))
        assert done.returncode in (0, 1) and b"PRIVATE KEY" not in done.stdout
    assert box.pids()["keyd"] == pid
    if state_of(box, "mutant"):
        box.ctl("cert", "remove", "mutant")


# --- which one a client gets -------------------------------------------------------------------
def test_the_name_chooses(box, ca):
    by_name = box.ctl("cert", "export-chain", "by-name")[0]["pem"]
    first = box.ctl("cert", "export-chain", "default")[0]["pem"]
    assert served(box, "pop3s", OTHER) == der_of(by_name)
    assert served(box, "pop3s", OTHER.upper()) == der_of(by_name)
    assert served(box, "pop3s", "nobody.test") == der_of(first)
    assert chain_of(box, "pop3s", "-noservername")[0][0] == der_of(first)


def test_a_pair_serves_what_the_client_supports(box):
    ec = der_of(box.ctl("cert", "export-chain", "pair-ec")[0]["pem"])
    rsa = der_of(box.ctl("cert", "export-chain", "pair-rsa")[0]["pem"])
    for version in ("-tls1_2", "-tls1_3"):
        for name in (MAIL, "b.example.test", "other.test"):
            sni = ("-servername", name, version)
            assert chain_of(box, "imaps", *sni)[0][0] == ec
            assert chain_of(box, "imaps", *sni, "-sigalgs", "ecdsa_secp256r1_sha256")[0][0] == ec
            assert chain_of(box, "imaps", *sni, "-sigalgs",
                            "rsa_pss_rsae_sha256:rsa_pkcs1_sha256")[0][0] == rsa


# --- changes -----------------------------------------------------------------------------------
def test_a_change_leaves_sessions_alone(box, ca):
    sock = box.connect("submissions")
    lines = sock.makefile("rb")
    assert lines.readline().startswith(b"220")
    new = ca.leaf(MAIL)
    pids = box.pids()
    box.ctl("cert", "import", "shop", "--install", content=new.full)
    wait_served(box, "submissions", new.cert)
    sock.sendall(b"NOOP\r\n")
    assert lines.readline().startswith(b"250")
    assert box.pids() == pids
    sock.close()
    lines.close()


def test_one_step_back(box, ca):
    one, two = ca.leaf(MAIL), ca.leaf(MAIL)
    for leaf in (one, two):
        box.ctl("cert", "import", "shop", "--install", content=leaf.full)
    wait_served(box, "submissions", two.cert)
    box.ctl("cert", "rollback", "shop")
    wait_served(box, "submissions", one.cert)
    box.ctl("cert", "rollback", "shop")
    wait_served(box, "submissions", two.cert)


def test_changes_are_in_the_audit_log_without_keys(box, ca):
    leaf = ca.leaf(MAIL)
    box.ctl("cert", "import", "shop", content=leaf.full)
    refused(box, "cert", "import", "shop", content=b"x")
    rows = box.ctl("audit", "list", "10")
    mine = [r for r in rows if r["command"].startswith("cert import shop")]
    assert mine and all("KEY" not in str(r) for r in rows)
    box.ctl("cert", "remove", "shop", "--candidate")


# --- tickets, staples, old and client certificates ---------------------------------------------
def resumes(box, listener, session, version):
    """Whether a session that openssl s_client kept is resumed."""
    connect = f"127.0.0.1:{box.ports[listener]}"
    return "Reused, TLSv" in openssl("s_client", "-connect", connect, version, "-sess_in", session,
                                     "-servername", MAIL, check=False).decode(errors="replace")


def keep_session(box, listener, path, version):
    connect = f"127.0.0.1:{box.ports[listener]}"
    # TLS 1.3's tickets come behind the handshake: wait for the greeting.
    client = subprocess.Popen(["openssl", "s_client", "-connect", connect, version, "-sess_out",
                               path, "-servername", MAIL, "-quiet"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert client.stdout.readline().startswith(b"+OK")
    client.communicate(b"QUIT\r\n", timeout=20)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_sessions_resume_also_after_a_respawn(box, version):
    path = f"{box.folder}/session"
    keep_session(box, "pop3s", path, version)
    assert resumes(box, "pop3s", path, version)
    pid = box.kill("pop3d-worker")
    box.wait_for(lambda: box.pids().get("pop3d-worker") not in (None, pid))
    box.wait_for(lambda: served(box, "pop3s"))
    assert resumes(box, "pop3s", path, version)
    # A ticket of one protocol is nothing to another.
    assert not resumes(box, "imaps", path, version)


def test_a_response_that_is_there_is_stapled(box, ca):
    leaf = ca.leaf(MAIL)
    box.ctl("cert", "import", "shop", "--install", content=leaf.full)
    wait_served(box, "submissions", leaf.cert)
    assert "no response sent" in chain_of(box, "submissions", "-status")[1]
    other = ca.leaf(MAIL)
    assert "another certificate" in refused(
        box, "cert", "staple", "shop", "--file", "-", content=ca.ocsp(other))
    assert "not a successful" in refused(
        box, "cert", "staple", "shop", "--file", "-", content=b"garbage")
    box.ctl("cert", "staple", "shop", "--file", "-", content=ca.ocsp(leaf))
    box.wait_for(lambda: "Cert Status: good" in chain_of(box, "submissions", "-status")[1])
    box.ctl("cert", "staple", "shop")
    box.wait_for(lambda: "no response sent" in chain_of(box, "submissions", "-status")[1])


def test_client_certificates_are_asked_for_and_logged(box, ca):
    client = ca.leaf("device.example.test")
    ca.write("client.pem", client.cert)
    ca.write("client.key", client.key)
    text = chain_of(box, "submissions", "-cert", ca.path("client.pem"), "-key",
                    ca.path("client.key"))[1]
    assert "Verify return code" in text
    want = hashlib.sha256(der_of(client.cert)).hexdigest()
    box.wait_for(lambda: f"event=tls-client-certificate client=127.0.0.1 sha256={want} "
                         f"subject=\"CN=device.example.test\"" in box.log_text() or
                 f"sha256={want} subject=CN=device.example.test" in box.log_text())
    # A client without one is as welcome.
    with box.connect("submissions") as sock:
        assert sock.recv(100).startswith(b"220")
    assert "No client certificate CA names sent" in chain_of(box, "pop3s")[1]


def old_handshake(box, listener, version, *words):
    done = openssl("s_client", "-connect", f"127.0.0.1:{box.ports[listener]}", version, "-cipher",
                   "DEFAULT@SECLEVEL=0", "-servername", MAIL, *words, check=False)
    return b"New, TLSv" in done


def test_old_tls_only_where_it_is_allowed(ca):
    with Appliance(accounts=(), listeners={"pop3s": {"tls_min": "1.0"},
                                           "imaps": {"tls_min": "1.3"}}) as one:
        for version, good in (("-tls1", ["pop3s"]), ("-tls1_1", ["pop3s"]),
                              ("-tls1_2", ["pop3s", "submissions"]),
                              ("-tls1_3", ["pop3s", "submissions", "imaps"])):
            for listener in ("pop3s", "submissions", "imaps"):
                assert old_handshake(one, listener, version) == (listener in good), \
                    (listener, version)
        one.listeners["pop3s"]["tls_min"] = "1.4"
        one.write_conf()
        assert "tls_min" in one.run_ctl("reload").stdout.decode()
        one.listeners["pop3s"]["tls_min"] = "1.2"
        one.write_conf()
        one.ctl("reload")
        assert not old_handshake(one, "pop3s", "-tls1")


def test_old_tls_for_devices_only():
    printer = {"role": "device", "tls": "required", "tls_min": "1.0",
               "device_sender": "printer@example.test", "device_from": "127.0.0.1"}
    with Appliance(accounts=(), listeners={"printer": printer}) as one:
        for version in ("-tls1", "-tls1_1", "-tls1_2", "-tls1_3"):
            for listener in ("printer", "smtp", "submission"):
                assert old_handshake(one, listener, version, "-starttls", "smtp") == \
                    (listener == "printer" or version in ("-tls1_2", "-tls1_3"))


# --- keyd itself -------------------------------------------------------------------------------
def test_the_default_follows_the_host_name():
    with Appliance(accounts=()) as one:
        first = served(one, "pop3s")
        one.settings["server.hostname"] = "new.example.test"
        one.write_conf()
        one.ctl("reload")
        one.wait_for(lambda: "new.example.test" in state_of(one, "default")["names"])
        one.wait_for(lambda: served(one, "pop3s") != first)
        assert state_of(one, "default")["previous"]


def kill_keyd(box, after):
    pid = box.pids()["keyd"]
    timer = subprocess.Popen(["sh", "-c", f"sleep {after}; kill -9 {pid}"])
    return pid, timer


def test_killed_in_the_middle_of_an_install_one_of_both_is_there(box, ca):
    now = ca.leaf(MAIL)
    box.ctl("cert", "import", "shop", "--install", content=now.full)
    rng = random.Random(1)
    for _ in range(5):
        new = ca.leaf(MAIL)
        pid, timer = kill_keyd(box, rng.uniform(0, 0.04))
        box.run_ctl("cert", "import", "shop", "--install", content=new.full)
        timer.wait(10)
        box.wait_for(lambda: box.pids().get("keyd") not in (None, pid) and
                     box.run_ctl("cert", "list").returncode == 0)
        shown = box.ctl("cert", "export-chain", "shop")[0]["pem"].encode()
        assert shown in (now.cert + ca.middle, new.cert + ca.middle)
        now = new if shown.startswith(new.cert) else now
        names = set(os.listdir(f"{box.state}/keys/shop"))
        assert "index" in names and all(n == "index" or n.endswith(".pem") for n in names)
        wait_served(box, "submissions", now.cert)


def test_keyd_comes_back(box, ca):
    pid = box.kill("keyd")
    assert served(box, "submissions")
    box.wait_for(lambda: box.pids().get("keyd") not in (None, pid))
    leaf = ca.leaf(MAIL)
    box.wait_for(lambda: box.run_ctl("cert", "list").returncode == 0)
    box.ctl("cert", "import", "shop", "--install", content=leaf.full)
    wait_served(box, "submissions", leaf.cert)


def test_one_wide_record_is_shown_a_field_a_line(box):
    shown = subprocess.run([f"{BIN}/mailsteadctl", "-c", box.conf, "cert", "show", "default"],
                           stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()
    assert [line.split()[0] for line in shown[:4]] == ["id", "what", "key", "subject"]
    assert shown[0].split() == ["id", "default"]
