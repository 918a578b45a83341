"""
Random sessions on one account, each with a model of what its client knows, all with a model of what
must be true between them. Every line of every answer goes through a model.

A message of a mailbox is (UIDVALIDITY, UID); its body carries a token. What is checked:
  - a client's numbers, UIDs and flags follow from what it was told, and a full FETCH shows nothing
    else: no change is missed, none is told twice the wrong way, no EXPUNGE comes where it may not;
  - a UID is one message for ever, a (UID, MODSEQ) one set of flags, in all sessions;
  - nothing goes that nobody removed, nothing stays that was told to be gone, no message is moved
    twice, and what APPEND, COPY and MOVE promised is there with the right bytes at the end.
"""
import random
import re
import threading

from appliance import PASSWORD
from imap import Imap, parse

STABLE = ["INBOX", "Archive", "Sent"]
VOLATILE = ["v1", "v2", "v3", "v1/a", "v2/b"]
FLAGS = ["\\Seen", "\\Flagged", "\\Answered", "\\Draft", "red", "green"]
# RFC 3501 7.4.1
NO_EXPUNGE = ("FETCH", "STORE", "SEARCH")


def uid_list(text):
    found = []
    for part in text.decode().split(","):
        first, _, last = part.partition(":")
        found += range(int(first), int(last or first) + 1)
    return found


class Model:
    """What all sessions know together."""

    def __init__(self):
        self.lock = threading.Lock()
        self.tokens = {}     # message -> token
        self.deleted = set()  # messages that may carry \\Deleted
        self.leaving = set()  # messages that somebody tried to move
        self.made = set()    # messages that an answer promised
        self.copies = []     # (message, its copy)
        self.gone = set()    # messages that somebody was told to be gone
        self.moved = set()
        self.doomed = set()  # UIDVALIDITYs of mailboxes that somebody tried to delete
        self.flags = {}      # (message, modseq) -> flags
        self.next_token = 0
        self.commands = 0

    def new_token(self):
        with self.lock:
            self.next_token += 1
            return f"token-{self.next_token}"

    def is_token(self, message, token):
        with self.lock:
            known = self.tokens.setdefault(message, token)
        assert known == token, f"{message} is {token}, was {known}"

    def has_flags(self, message, modseq, flags):
        with self.lock:
            known = self.flags.setdefault((message, modseq), flags)
        assert known == flags, f"{message} at {modseq}: {flags}, was {known}"


class Gone(Exception):
    """The server said BYE: the selected mailbox was deleted."""


class Session:
    def __init__(self, model, appliance, address, rng, kind):
        self.model = model
        self.appliance = appliance
        self.address = address
        self.rng = rng
        self.kind = kind  # "plain", "condstore", "qresync"
        self.log = []
        self.name = None
        self.saved = {}   # name -> (validity, modseq, {uid: (flags, modseq)})
        self.connect()

    # --- the connection ---------------------------------------------------------------------------
    def connect(self):
        self.client = Imap(self.appliance.connect("imap"))
        self.client.login(self.address, PASSWORD)
        if self.kind != "plain":
            self.client.ok(f"ENABLE {self.kind.upper()}")
        self.forget()

    def forget(self):
        self.left = self.name
        self.name = self.validity = None
        self.view = []    # UIDs by number; None: not asked yet
        self.cache = {}   # UID -> (flags, modseq)
        self.highest = 0  # all changes up to this one were told

    def close(self):
        self.client.close()

    def run(self, command, word=None, silent=None):
        """One command; all its untagged answers go into the view."""
        word = word or command.split()[0]
        self.log.append(command[:200])
        tag = self.client.start(command)
        return self.take(tag, word, silent)

    def take(self, tag, word, silent=None):
        try:
            answer = self.client.finish(tag)
        except (EOFError, ConnectionError) as e:
            # A session whose mailbox was deleted is told so, then cut off.
            if self.name in VOLATILE or self.name is None and self.left in VOLATILE:
                raise Gone from e
            raise
        self.model.commands += 1
        for line in answer.untagged:
            self.log.append(line[:200])
            self.told(line, word, silent)
        self.log.append(f"{answer.status} {answer.text[:200]}")
        # Its own DELETE of the selected mailbox leaves a session without one.
        if word == "DELETE" and any(x.startswith(b"OK [CLOSED]") for x in answer.untagged):
            self.forget()
        if any(x.startswith(b"BYE") for x in answer.untagged):
            raise Gone
        if b"[NONEXISTENT]" in answer.text and self.name in VOLATILE and \
                word in ("UID", "FETCH", "STORE", "COPY", "MOVE", "EXPUNGE", "CLOSE"):
            raise Gone
        return answer

    def ok(self, command, word=None, silent=None):
        answer = self.run(command, word, silent)
        assert answer.status == "OK", (command, answer)
        return answer

    # --- what is told -----------------------------------------------------------------------------
    def message(self, uid):
        return (self.validity, uid)

    def drop(self, uid):
        self.cache.pop(uid, None)
        if uid is None:
            return
        with self.model.lock:
            self.model.gone.add(self.message(uid))

    def told(self, line, word, silent):
        first, _, rest = line.partition(b" ")
        if rest == b"EXPUNGE":
            assert word not in NO_EXPUNGE and self.kind != "qresync", (word, line)
            self.drop(self.view.pop(int(first) - 1))
        elif rest == b"EXISTS":
            assert int(first) >= len(self.view), line
            self.view += [None] * (int(first) - len(self.view))
        elif rest.startswith(b"FETCH "):
            self.told_fetch(int(first), parse(rest[6:])[0], silent)
        elif first == b"VANISHED":
            assert word not in NO_EXPUNGE, (word, line)
            assert self.kind == "qresync", line
            gone = uid_list(rest.replace(b"(EARLIER) ", b""))
            if b"EARLIER" not in rest:
                for uid in gone:
                    if uid in self.view:
                        self.view.remove(uid)
                    else:
                        self.view.remove(None)  # one that was counted, not asked about yet
            for uid in gone:
                if uid in self.cache:
                    self.drop(uid)

    def told_fetch(self, number, tokens, silent):
        items = {tokens[i].decode(): tokens[i + 1] for i in range(0, len(tokens), 2)}
        assert 1 <= number <= len(self.view), (number, items)
        uid = self.view[number - 1]
        if "UID" in items:
            now = int(items["UID"])
            assert uid in (None, now), (number, uid, now)
            self.view[number - 1] = uid = now
        if uid is None:
            return  # counted, not asked about yet
        flags, modseq = self.cache.get(uid, (None, 0))
        if "MODSEQ" in items:
            modseq = int(items["MODSEQ"][0])
        if "FLAGS" in items:
            flags = frozenset(x.decode() for x in items["FLAGS"]) - {"\\Recent"}
            if "MODSEQ" in items:
                self.model.has_flags(self.message(uid), modseq, flags)
        elif silent and uid in silent[1] and flags is not None:
            flags = silent[0](flags)
        self.cache[uid] = (flags, modseq)
        for name, value in items.items():
            if name.startswith("BODY["):
                self.check_body(uid, value)

    def check_body(self, uid, value):
        found = re.search(rb"X-Token: (\S+)", value or b"")
        assert found, (uid, value)
        self.model.is_token(self.message(uid), found.group(1).decode())

    def settle(self):
        """Asks about messages that were only counted."""
        modseq = "" if self.kind == "plain" else " MODSEQ"
        while None in self.view:
            first = self.view.index(None) + 1
            self.ok(f"FETCH {first}:{len(self.view)} (UID FLAGS{modseq})")
        assert self.view == sorted(set(self.view)), self.view

    # --- choosing ---------------------------------------------------------------------------------
    def some_uids(self, most=4):
        count = min(len(self.view), self.rng.randint(1, most))
        return sorted(self.rng.sample(self.view, count))

    def as_set(self, uids, is_uid):
        numbers = uids if is_uid else [self.view.index(u) + 1 for u in uids]
        return ",".join(str(n) for n in numbers)

    def some_mailbox(self):
        return self.rng.choice(STABLE * 3 + VOLATILE)

    # --- operations -------------------------------------------------------------------------------
    def select(self, name, command="SELECT", extra=""):
        self.forget()
        answer = self.run(f"{command} {name}{extra}", "SELECT")
        if answer.status != "OK":
            assert name in VOLATILE, answer
            self.forget()
            return False
        self.name = name
        self.note_codes(answer)
        self.settle()
        return True

    def note_codes(self, answer):
        for line in answer.untagged:
            found = re.match(rb"OK \[(UIDVALIDITY|HIGHESTMODSEQ) (\d+)\]", line)
            if found and found.group(1) == b"UIDVALIDITY":
                self.validity = int(found.group(2))
            elif found:
                self.highest = int(found.group(2))

    def do_select(self):
        self.select(self.some_mailbox(), self.rng.choice(["SELECT", "SELECT", "EXAMINE"]))

    def do_resume(self):
        """Leaves the mailbox; later comes back and is told the difference."""
        if self.kind != "qresync":
            return
        if self.name in STABLE and self.rng.random() < 0.5:
            self.do_full_fetch()
            # After a NOOP all is told that has happened; behind a FETCH expunges may be held back.
            self.ok("NOOP")
            while None in self.view:
                self.settle()
                self.ok("NOOP")
            modseq = max([m for _, m in self.cache.values()] + [self.highest])
            self.saved[self.name] = (self.validity, modseq, dict(self.cache))
            if self.rng.random() < 0.5:
                self.ok("UNSELECT")
                self.forget()
            return
        if not self.saved:
            return
        name = self.rng.choice(sorted(self.saved))
        validity, modseq, cache = self.saved.pop(name)
        known = ",".join(map(str, sorted(cache)))
        known = f" {known}" if known and self.rng.random() < 0.5 else ""
        if self.name:
            self.ok("UNSELECT")
        self.forget()
        self.cache, self.validity = dict(cache), validity
        # Numbers are not known before the FETCH of what changed: it carries UIDs.
        answer = self.ok(f"SELECT {name} (QRESYNC ({validity} {modseq}{known}))")
        self.name = name
        self.note_codes(answer)
        assert self.validity == validity
        resumed = dict(self.cache)
        self.cache = dict(resumed)
        self.view = [None] * len(self.view)
        fresh = self.ok("UID FETCH 1:* (FLAGS MODSEQ)", "UID")
        lines = [x for x in fresh.untagged if b" FETCH " in x]
        seen = set()
        for line in lines:
            items = parse(line.split(b" ", 2)[2])[0]
            items = {items[i].decode(): items[i + 1] for i in range(0, len(items), 2)}
            uid = int(items["UID"])
            if uid in seen:
                continue  # news behind the answer
            seen.add(uid)
            flags = frozenset(x.decode() for x in items["FLAGS"]) - {"\\Recent"}
            if uid in cache or not known:
                assert resumed.get(uid) == (flags, int(items["MODSEQ"][0])), (
                    uid, resumed.get(uid), items)
        missed = set(resumed) - seen
        told = [x for x in answer.untagged if b"VANISHED" in x or b"MODSEQ]" in x or b"[H" in x]
        assert not missed, f"since {modseq}{known}: {told}: not that {missed} vanished"
        self.settle()

    def do_noop(self):
        self.ok(self.rng.choice(["NOOP", "CHECK"]))
        self.settle()

    def do_full_fetch(self):
        """The whole mailbox: exactly what the client believes."""
        self.settle()
        before = dict(self.cache)
        numbers = list(self.view)
        is_uid = self.rng.random() < 0.5
        modseq = "" if self.kind == "plain" else " MODSEQ"
        if not numbers:
            return
        answer = self.run(f"{'UID ' if is_uid else ''}FETCH 1:* (UID FLAGS{modseq})",
                          "UID" if is_uid else "FETCH")
        assert answer.status == "OK", answer
        lines = [x for x in answer.untagged if b" FETCH " in x][:len(numbers)]
        assert len(lines) == len(numbers), (len(lines), len(numbers))
        stale = set()
        for n, (uid, line) in enumerate(zip(numbers, lines), 1):
            items = parse(line.split(b" ", 2)[2])[0]
            items = {items[i].decode(): items[i + 1] for i in range(0, len(items), 2)}
            flags = frozenset(x.decode() for x in items["FLAGS"]) - {"\\Recent"}
            assert line.startswith(b"%d " % n) and int(items["UID"]) == uid, (n, uid, line)
            now = (flags, int(items["MODSEQ"][0]) if modseq else 0)
            if before[uid] != now:
                stale.add((uid, before[uid], now))
        # Of a message that has gone, unknown to the client, an older state may be told.
        while stale and None in self.view:
            self.settle()
        if stale:
            self.ok("NOOP")
        for uid, was, now in stale:
            assert uid not in self.view, (uid, was, now)
        self.settle()

    def do_read(self):
        if not self.view:
            return
        uids = self.some_uids(8)
        is_uid = self.rng.random() < 0.5
        peek = self.rng.choice([".PEEK", ""])
        answer = self.run(f"{'UID ' if is_uid else ''}FETCH {self.as_set(uids, is_uid)} "
                          f"(UID BODY{peek}[HEADER])", "UID" if is_uid else "FETCH")
        assert answer.status == "OK" or b"EXPUNGEISSUED" in answer.text, answer
        self.settle()

    def do_store(self):
        if not self.view:
            return
        uids = self.some_uids(6)
        is_uid = self.rng.random() < 0.5
        mode = self.rng.choice(["", "+", "-"])
        flags = frozenset(self.rng.sample(FLAGS, self.rng.randint(1, 3)))
        quiet = self.rng.random() < 0.5
        since = ""
        if self.kind != "plain" and self.rng.random() < 0.3:
            since = f" (UNCHANGEDSINCE {self.cache[uids[0]][1]})"

        def silent(old):
            return {"": flags, "+": old | flags, "-": old - flags}[mode]

        answer = self.run(
            f"{'UID ' if is_uid else ''}STORE {self.as_set(uids, is_uid)}{since} "
            f"{mode}FLAGS{'.SILENT' if quiet else ''} ({' '.join(sorted(flags))})",
            "UID" if is_uid else "STORE", (silent, set(uids)) if quiet else None)
        if self.is_read_only(answer):
            return
        assert answer.status in ("OK", "NO"), answer
        assert answer.status == "OK" or b"EXPUNGEISSUED" in answer.text or \
            b"MODIFIED" in answer.text, answer
        if quiet and self.kind == "plain" and answer.status == "OK":
            # Nothing was told of those that are now what the client made of them.
            told = {int(x.split(b" ")[0]) for x in answer.untagged if b" FETCH " in x}
            for uid in uids:
                if uid in self.view and self.view.index(uid) + 1 not in told:
                    self.cache[uid] = (silent(self.cache[uid][0]), 0)
        self.settle()

    def is_read_only(self, answer):
        return answer.status == "NO" and b"read-only" in answer.text

    def do_delete(self):
        if not self.view:
            return
        uids = self.some_uids()
        with self.model.lock:
            self.model.deleted.update(self.message(u) for u in uids)
        answer = self.run(f"UID STORE {self.as_set(uids, True)} +FLAGS (\\Deleted)", "UID")
        if self.is_read_only(answer):
            return
        self.settle()
        what = self.rng.choice(["EXPUNGE", "UID EXPUNGE", "CLOSE", ""])
        before = dict(self.cache)
        uids = [u for u in uids if u in self.view]
        if what == "EXPUNGE":
            self.ok("EXPUNGE")
        elif what == "UID EXPUNGE" and uids:
            self.ok(f"UID EXPUNGE {self.as_set(uids, True)}", "UID")
            for uid in set(uids) & set(self.view):
                # Only if somebody took the mark away in between: then its flags were told.
                if "\\Deleted" in before[uid][0] and self.cache[uid] == before[uid]:
                    # Or the mailbox went at the same time: then the server is about to say so.
                    self.ok("NOOP")
                    assert uid not in self.view, (uid, before[uid])
        elif what == "CLOSE":
            assert not self.ok("CLOSE").untagged
            self.forget()
        self.settle()

    def do_append(self):
        name = self.some_mailbox()
        tokens = [self.model.new_token() for _ in range(self.rng.choice([1, 1, 1, 3]))]
        parts = [f"APPEND {name}"]
        for token in tokens:
            flags = " ".join(self.rng.sample(FLAGS, self.rng.randint(0, 2)))
            body = f"X-Token: {token}\r\nSubject: {token}\r\n\r\n" + "x" * self.rng.randint(0, 5000)
            parts[-1] += f" ({flags}) "
            parts += [body.encode(), ""]
        self.log.append(parts[0])
        answer = self.take(self.client.start(tuple(parts)), "APPEND")
        if answer.status != "OK":
            assert name in VOLATILE and re.match(rb"\[(TRYCREATE|CANNOT)\]", answer.text), answer
            self.settle()
            return
        found = re.match(rb"\[APPENDUID (\d+) ([\d:,]+)\]", answer.text)
        uids = uid_list(found.group(2))
        assert len(uids) == len(tokens), answer
        for uid, token in zip(uids, tokens):
            with self.model.lock:
                self.model.made.add((int(found.group(1)), uid))
            self.model.is_token((int(found.group(1)), uid), token)
        self.settle()

    def do_copy(self):
        if not self.view:
            return
        uids = self.some_uids()
        is_uid = self.rng.random() < 0.5
        verb = self.rng.choice(["COPY", "MOVE"])
        target = self.some_mailbox()
        validity = self.validity
        if verb == "MOVE":
            with self.model.lock:
                self.model.leaving.update(self.message(u) for u in uids)
        answer = self.run(f"{'UID ' if is_uid else ''}{verb} {self.as_set(uids, is_uid)} {target}",
                          verb)
        if self.is_read_only(answer):
            return
        if answer.status != "OK":
            assert b"EXPUNGEISSUED" in answer.text or (
                target in VOLATILE and re.match(rb"\[(TRYCREATE|CANNOT)\]", answer.text)), answer
            self.settle()
            return
        texts = [answer.text] + [x[3:] for x in answer.untagged if x.startswith(b"OK [COPYUID")]
        for text in texts:
            found = re.match(rb"\[COPYUID (\d+) ([\d:,]+) ([\d:,]+)\]", text)
            if found:
                self.copied(verb, validity, int(found.group(1)), uid_list(found.group(2)),
                            uid_list(found.group(3)))
        self.settle()

    def copied(self, verb, validity, target, source, copies):
        assert len(source) == len(copies)
        for old, new in zip(source, copies):
            with self.model.lock:
                token = self.model.tokens.get((validity, old))
                if (validity, old) in self.model.deleted:
                    self.model.deleted.add((target, new))
                if verb == "MOVE":
                    assert (validity, old) not in self.model.moved, f"{old} was moved twice"
                    self.model.moved.add((validity, old))
                    self.model.gone.add((validity, old))
                self.model.made.add((target, new))
                self.model.copies.append(((validity, old), (target, new)))
            if token:
                self.model.is_token((target, new), token)

    def do_search(self):
        if not self.view:
            return
        self.settle()
        believed, numbers = dict(self.cache), list(self.view)
        flag = self.rng.choice(["SEEN", "FLAGGED", "ANSWERED", "DRAFT", "KEYWORD red"])
        name = "red" if "red" in flag else "\\" + flag.capitalize()
        is_uid = self.rng.random() < 0.5
        answer = self.ok(f"{'UID ' if is_uid else ''}SEARCH {flag}", "UID" if is_uid else "SEARCH")
        found = [int(x) for x in answer.lines("SEARCH")[0].split()[1:]]
        wanted = [u if is_uid else n for n, u in enumerate(numbers, 1) if name in believed[u][0]]
        self.settle()
        if found != wanted:
            self.ok("NOOP")
        for uid in set(found) ^ set(wanted):
            # As in a full FETCH: of messages that went without the client knowing it yet.
            uid = uid if is_uid else numbers[uid - 1]
            assert uid not in self.view, (flag, uid, found, wanted)
        self.settle()

    def do_idle(self):
        tag = self.client.start("IDLE")
        line = self.client.read_line()
        while not line.startswith(b"+"):
            assert line.startswith(b"* "), line
            if line.startswith(b"* BYE"):
                raise Gone
            self.told(line[2:], "IDLE", None)
            line = self.client.read_line()
        self.client.sock.settimeout(self.rng.choice([0.001, 0.05, 0.2]))
        try:
            if self.client.sock.recv(1, 2):  # MSG_PEEK
                pass
        except TimeoutError:
            pass
        self.client.sock.settimeout(60)
        self.client.send(b"DONE\r\n")
        assert self.take(tag, "IDLE").status == "OK"
        self.settle()

    def do_pipeline(self):
        """Commands sent together; numbers stay what they are over all of them."""
        if not self.view:
            return
        n = self.rng.randint(1, len(self.view))
        commands = [("FETCH", f"FETCH {n} (UID FLAGS)"), ("SEARCH", "SEARCH ALL"),
                    ("STORE", f"STORE {n} +FLAGS (\\Seen)"), ("FETCH", f"FETCH {n} (UID FLAGS)")]
        tags = [self.client.start(command) for _, command in commands]
        for tag, (word, command) in zip(tags, commands):
            self.log.append(command)
            answer = self.take(tag, word)
            assert answer.status == "OK" or self.is_read_only(answer) or \
                b"EXPUNGEISSUED" in answer.text, answer
        self.settle()

    def do_mailboxes(self):
        name, other = self.rng.choice(VOLATILE), self.rng.choice(VOLATILE)
        what = self.rng.choice(["CREATE", "CREATE", "DELETE", "RENAME", "LIST", "STATUS"])
        if what == "DELETE":
            answer = self.run(f"STATUS {name} (UIDVALIDITY)")
            if answer.status == "OK":
                # Somebody may recreate it in between: then that one goes unannounced.
                with self.model.lock:
                    for m in self.model.tokens:
                        self.model.doomed.add(m[0]) if m[0] not in self.stable else None
        command = {"CREATE": f"CREATE {name}", "DELETE": f"DELETE {name}",
                   "RENAME": f"RENAME {name} {other}", "LIST": 'LIST "" *',
                   "STATUS": f"STATUS {name} (MESSAGES UIDNEXT)"}[what]
        answer = self.run(command)
        assert answer.status in ("OK", "NO"), answer
        if self.name:
            self.settle()

    def do_reconnect(self):
        answer = self.run("LOGOUT") if self.rng.random() < 0 else None
        assert answer is None
        self.client.close()
        self.connect()

    OPERATIONS = [(8, do_noop), (6, do_full_fetch), (8, do_read), (14, do_store), (6, do_delete),
                  (14, do_append), (10, do_copy), (6, do_search), (5, do_idle), (4, do_pipeline),
                  (3, do_mailboxes), (5, do_select), (6, do_resume), (1, do_reconnect)]

    def step(self):
        try:
            if self.name is None:
                self.select(self.some_mailbox())
                if self.name is None:
                    self.run(f"CREATE {self.rng.choice(VOLATILE)}")
                    return
            what = self.rng.choices([op for _, op in self.OPERATIONS],
                                    [weight for weight, _ in self.OPERATIONS])[0]
            self.log.append(f"--- {what.__name__}")
            what(self)
        except Gone:
            assert self.name not in STABLE, self.name
            self.log.append("--- the mailbox was deleted")
            self.client.close()
            self.connect()


def run_sessions(appliance, address, seed, count, seconds):
    """Runs; raises what the first failing session raised, with its last lines. The model."""
    import time
    model = Model()
    setup = Imap(appliance.connect("imap"))
    setup.login(address, PASSWORD)
    stable = set()
    for name in STABLE:
        answer = setup.ok(f"SELECT {name}")
        stable.add(int(re.search(rb"UIDVALIDITY (\d+)", b"".join(answer.untagged)).group(1)))
    setup.close()
    end = time.monotonic() + seconds
    failures = []

    def work(number):
        kind = ("plain", "condstore", "qresync")[number % 3]
        session = Session(model, appliance, address, random.Random(seed * 1000 + number), kind)
        session.stable = stable
        try:
            while time.monotonic() < end and not failures:
                session.step()
        except BaseException as e:  # noqa: B902
            failures.append((number, kind, e, session.log[-60:]))
        finally:
            session.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        number, kind, error, log = failures[0]
        text = "\n".join(str(x) for x in log)
        raise AssertionError(f"seed {seed}, session {number} ({kind}): {error!r}\n{text}") from error
    return model


def check_end(model, appliance, address):
    """Everybody has left: what is there now is what the answers promised."""
    c = Imap(appliance.connect("imap"))
    c.login(address, PASSWORD)
    for message, copy in model.copies:
        if message in model.tokens:
            model.is_token(copy, model.tokens[message])
    for name in STABLE:
        answer = c.ok(f"SELECT {name}")
        validity = int(re.search(rb"UIDVALIDITY (\d+)", b"".join(answer.untagged)).group(1))
        here = {int(v["UID"]): v for v in c.fetch("1:*", "(UID BODY.PEEK[HEADER])").values()} \
            if b"0 EXISTS" not in answer.untagged else {}
        made = {uid for v, uid in model.made if v == validity}
        gone = {uid for v, uid in model.gone if v == validity}
        removable = {uid for v, uid in model.deleted | model.leaving if v == validity}
        assert not set(here) - made, f"{name}: {set(here) - made} came from nowhere"
        assert not gone - removable, f"{name}: {gone - removable} went by themselves"
        assert not set(here) & gone, f"{name}: {set(here) & gone} had gone"
        assert not made - set(here) - removable, f"{name}: {made - set(here) - removable} lost"
        for uid, values in here.items():
            token = re.search(rb"X-Token: (\S+)", values["BODY[HEADER]"]).group(1).decode()
            assert model.tokens[(validity, uid)] == token
        line = c.ok(f"STATUS {name} (MESSAGES)").lines("STATUS")[0]
        assert line.endswith(b"(MESSAGES %d)" % len(here)), line
    c.close()
