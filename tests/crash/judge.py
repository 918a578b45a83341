"""Compares what a crash left with what was acknowledged."""
import json
import subprocess

FLAGS = {1: "\\Seen", 2: "\\Answered", 4: "\\Flagged", 8: "\\Deleted", 16: "\\Draft"}


class Inspector:
    """The program that opens a state and tells what is in it."""

    def __init__(self, program, passwords=()):
        self.program, self.passwords = program, passwords
        self.process = None

    def start(self):
        self.process = subprocess.Popen([self.program], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def look(self, folder):
        """The parsed line, or a text: how it died."""
        if self.process is None:
            self.start()
        self.process.stdin.write("\t".join((folder, *self.passwords)).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        error = self.process.stderr.read()[-2000:].decode(errors="replace")
        status = self.process.wait()
        self.process = None
        return f"the inspector ended with {status}: {error}"

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.stdout.close()
            self.process.stderr.close()
            self.process.wait()


def observe(found, ledger):
    """Registers as they are: (register -> value), and what is wrong whatever was acknowledged."""
    wrong = [f"{e['where']}: {e['code']}: {e['text']}" for e in found["errors"]]
    wrong += [f"check: account {f['account']} {f['mailbox']} {f['uid']}: {f['what']}"
              for f in found.get("findings", [])]
    seen = {}
    for number, mailboxes in found.get("accounts", {}).items():
        seen[("mailboxes", int(number))] = frozenset(mailboxes)
        for name, mailbox in mailboxes.items():
            for message in mailbox["messages"]:
                take_message(int(number), name, message, ledger, seen, wrong)
    delivered = set(found.get("delivered", []))
    due = set(found.get("due", []))
    for row in found.get("queue", []):
        take_queued(row, delivered, due, ledger, seen, wrong)
    for user in found.get("users", []):
        seen[("password", user["address"])] = user.get("password", "none of them")
        seen[("account", user["address"])] = not user["deleting"]
    for alias in found.get("aliases", []):
        seen[("alias", alias)] = True
    return seen, wrong


def check_sum(message, ledger, wrong, where):
    token = message.get("token")
    if "unreadable" in message:
        wrong.append(f"{where}: unreadable: {message['unreadable']}")
        return None
    if "notice_of" not in message and ledger.sums.get(token) != message["sum"]:
        wrong.append(f"{where}: {token} is not the message that was sent")
    return token


def take_message(number, name, message, ledger, seen, wrong):
    token = check_sum(message, ledger, wrong, f"account {number} {name} {message['uid']}")
    if token is None or take_notice(message, token, seen):
        return
    register = ("place", number, token)
    places = seen.setdefault(register, [])
    places.append(name)
    seen[("uid", number, name, token)] = message["uid"]
    seen[("flags", number, name, token)] = frozenset(
        text for bit, text in FLAGS.items() if message["flags"] & bit)


def take_notice(message, token, seen):
    """True if it is one: it stands for what it tells of."""
    for recipient in message.get("notice_of", []):
        seen.setdefault(("remote", recipient, token), []).append("notice")
    return "notice_of" in message


def take_queued(row, delivered, due, ledger, seen, wrong):
    where = f"queue {row['qid']} to {row['to']}"
    token = check_sum(row, ledger, wrong, where)
    if row["is_remote"]:
        seen.setdefault(("remote", row["to"], token), []).append("queue")
        seen[("tries", row["to"], token)] = row["tries"]
        return
    number = ledger.numbers[row["to"]]
    if f"{row['qid']}{number:016x}" in delivered:
        return  # in the store already: what is left here is a replay of nothing
    if row["state"] != 0 or f"{row['qid']}/{row['n']}" not in due:
        wrong.append(f"{where}: it waits for nothing")
    if token is not None and not take_notice(row, token, seen):
        seen.setdefault(("place", number, token), []).append("INBOX")


def judge(found, ledger, timeline, place, settings=None):
    """What a state breaks of the promises at a place of the trace: texts, empty if none."""
    if isinstance(found, str):
        return [found]
    seen, wrong = observe(found, ledger)
    if settings is not None:
        seen.update(settings)
    for register in timeline.registers:
        kind = register[0]
        value = seen.get(register)
        if kind == "place":
            value = tuple(sorted(value or ()))
            allowed = [tuple(sorted(v)) for v in timeline.allowed(register, place)]
        elif kind == "remote":
            value = tuple(sorted(value or ()))
            allowed = timeline.allowed(register, place, default=())
        elif kind == "tries":
            least = min(timeline.allowed(register, place, default=0))
            allowed = [least if value is None else max(value, least)]
            value = least if value is None else value
        elif kind in ("flags", "uid"):
            if value is None:
                continue  # gone: the register of its place says whether it may be
            allowed = timeline.allowed(register, place, default=value)
        elif kind == "mailboxes":
            allowed = timeline.allowed(register, place, default=value)
            value = value or frozenset()
        else:
            allowed = timeline.allowed(register, place, default=None)
            if kind in ("alias", "account"):
                value, allowed = bool(value), [bool(v) for v in allowed]
        if value not in allowed:
            wrong.append(f"{register}: {value!r}, allowed {allowed!r}")
    for register, value in seen.items():
        if register[0] == "place" and register not in timeline.registers:
            wrong.append(f"{register}: {value!r} was never sent there")
    return wrong
