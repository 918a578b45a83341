"""The life of a message that waits: retries, notices, holds, restarts, reports."""
import re
import smtplib
import threading
import time
import uuid

import pytest

from internet import MX, Sink
from send_world import World, settled, world  # noqa: F401


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
    told = [r for r in world.box.ctl("trace", row["id"]) if "administrator" in r["text"]]
    assert [(r["event"], r["to"], r["from"], r["tls"]) for r in told] == [
        ("failed", f"bob@{dead}", "alice@example.test", "")]
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
