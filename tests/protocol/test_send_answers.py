"""What becomes of the answers of other servers, also of hostile ones."""
import pytest

from send_world import settled, world  # noqa: F401


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
