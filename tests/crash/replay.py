"""Records what an appliance does under the scenarios, and replays every power cut."""
import hashlib
import multiprocessing
import os
import random
import re
import shutil
import struct
import subprocess
import tempfile
import time

import appliance
import disk
import scenarios
import trace
from internet import Dns, Sink
from judge import Inspector, judge
from ledger import BEFORE, Clock, Ledger, Timeline

LISTENERS = {f"{name}-open": {"role": name, "tls": "none", "login_without_tls": "yes"}
             for name in ("submission", "imap", "pop3")}
SETTINGS = {"smtp.data_rate_min": "0"}
INSPECT = os.path.join(appliance.BUILD, "tests", "crash-inspect")


class Elsewhere:
    """Names of which nothing can be learnt: what goes there waits in the queue."""

    def __contains__(self, name):
        return name != scenarios.FAR and not name.endswith("." + scenarios.FAR)


class Recorded(appliance.Appliance):
    """An appliance whose programs may run under strace and may come from another folder."""

    def __init__(self, programs=None, **kwargs):
        super().__init__(**kwargs)
        self.names = Dns()
        self.names.broken = Elsewhere()
        self.sink = Sink("127.0.2.1", 0)
        self.names.mail_domain(scenarios.FAR, "127.0.2.1")
        self.settings["dns.server"] = self.names.address
        self.settings["outbound.port"] = str(self.sink.port)
        self.settings["dns.trust_anchor"] = "none"
        self.programs = programs
        self.trace_log = None
        self.snapshot = None  # where the state is copied to when it starts

    def start_again(self):
        """On the same ports: who took one of them meanwhile lets go of it."""
        def is_up():
            try:
                self.start()
                return True
            except RuntimeError:
                if "in use" not in self.log_text()[-4000:]:
                    raise
                return False

        self.wait_for(is_up)

    def start(self):
        # At each try: a start that found a port in use has made files too.
        if self.snapshot:
            shutil.rmtree(self.snapshot, ignore_errors=True)
            shutil.copytree(self.state, self.snapshot, symlinks=True)
        super().start()

    def start_command(self):
        command = super().start_command()
        if self.programs:
            command[0] = os.path.join(self.programs, "mailsteadctl")
        return (trace.command(self.trace_log) if self.trace_log else []) + command

    def write_conf(self):
        super().write_conf()
        if self.programs:
            with open(self.conf, encoding="utf-8") as conf:
                text = conf.read()
            with open(self.conf, "w", encoding="utf-8") as conf:
                conf.write(re.sub(r"(?m)^paths.libexec = .*$",
                                  f'paths.libexec = "{self.programs}"', text))


class Recording:
    """Everything a replay needs: the disk at the start, the events, the ledger."""

    def __init__(self, name, base, root, events, ledger):
        self.name, self.base, self.root = name, base, root
        self.events, self.ledger = events, ledger
        # What of a state is judged: texts of what is wrong at once, and states of an appliance.
        self.views = lambda state, is_over: ([], [state])


def begin(run):
    """What every ledger starts with: two accounts that have been used."""
    for address in (scenarios.ALICE, scenarios.BOB):
        run.learn(address)
        scenarios.Imap(run.port("imap-open"), address, scenarios.PASSWORD).close()
        run.ledger.write(("mailboxes", run.number(address)), frozenset(scenarios.STANDARD),
                         BEFORE, None)
        run.ledger.write(("password", address), scenarios.PASSWORD, BEFORE, None)
    run.ledger.write(("cert", "default"), (1, 0, 0), BEFORE, None)
    # They are made beside the domain.
    run.wait(lambda: os.path.exists(f"{run.appliance.state}/keys/_dkim/example.test.pem"))
    run.ledger.write(("dkim", "example.test"), "cc", BEFORE, None)


def record(name, steps, seed, programs=None, folder=None):
    """Runs steps (functions of scenarios) under strace."""
    folder = folder or tempfile.mkdtemp(prefix="mailstead-crash-")
    base = os.path.join(folder, name)
    log = os.path.join(folder, f"{name}.strace")
    is_first = name == "install"
    mail = Recorded(programs=programs, settings=SETTINGS, listeners=LISTENERS,
                    accounts=() if is_first else ("alice", "bob"))
    if name == "restore":
        mail.state = f"{mail.folder}/data/state"
        os.mkdir(os.path.dirname(mail.state))
    run = scenarios.Run(mail, Ledger(), seed)
    if is_first:
        os.makedirs(mail.state, exist_ok=True)
        mail.snapshot, mail.trace_log = base, log
    with mail:
        if not is_first:
            begin(run)
        if name in COMMANDS:
            recording = COMMANDS[name](run, base, log)
        else:
            if not is_first:
                mail.stop()
                mail.snapshot, mail.trace_log = base, log
                mail.start_again()
            for step in steps:
                step(run)
            assert not run.far.wrong, run.far.wrong
            mail.stop()
            events, _ = trace.read(log, mail.state)
            recording = Recording(name, base, mail.state, events, run.ledger)
        os.unlink(log)
        mail.trace_log = None
    return recording


# --- what is done by hand while nothing runs ----------------------------------------------------
def command(mail, *words, log=None):
    done = subprocess.run([*(trace.command(log) if log else []), f"{appliance.BIN}/mailsteadctl",
                           "-c", mail.conf, *words], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False,
                          env={**os.environ, "MAILSTEAD_ALLOW_ROOT": "1"})
    assert done.returncode == 0, done.stdout


def use(run, *names):
    """What comes after these steps finds everything that they were promised."""
    for name in names:
        scenarios.SCENARIOS[name](run)
    run.appliance.stop()
    run.ledger.collapse()


def record_compact(run, base, log):
    """Databases rewritten."""
    mail = run.appliance
    use(run, "smtp_in", "imap_expunge", "submission")
    shutil.copytree(mail.state, base, symlinks=True)
    command(mail, "compact", log=log)
    return Recording("compact", base, mail.state, trace.read(log, mail.state)[0], run.ledger)


def within(state, *places):
    """The state of an appliance out of parts of another one: (its path, where that is here)."""
    files = {}
    for path, found in state.files.items():
        for here, there in places:
            if path.startswith(there + "/"):
                files[here + path[len(there):]] = found
    folders = {"/".join(path.split("/")[:i]) for path in files for i in range(2, path.count("/") + 1)}
    return disk.State(files, sorted(folders))


def generations(state, backup):
    return sorted({path[len(backup):].split("/")[2] for path in state.folders
                   if path.startswith(f"{backup}/generations/2")})


def generation(state, backup, name):
    there = f"{backup}/generations/{name}"
    return within(state, ("/store/env", f"{there}/store"), ("/queue/env", f"{there}/queue"),
                  ("/auth/env", f"{there}/auth"), ("/store/blob", f"{backup}/blob/store"),
                  ("/queue/blob", f"{backup}/blob/queue"), ("/conf", f"{there}/state/conf"),
                  ("/keys", f"{there}/state/keys"))


def record_backup(run, base, log):
    """A second generation, and a third for which the first one goes: what has a name is whole."""
    mail = run.appliance
    use(run, "smtp_in", "imap_append", "submission")
    backup = f"{mail.state}/backup"  # below what is recorded
    command(mail, "backup", backup)
    shutil.copytree(mail.state, base, symlinks=True)
    first = os.listdir(f"{backup}/generations")
    mail.wait_for(lambda: clock() not in first)
    command(mail, "backup", backup, "--keep=1", log=log)

    def views(state, is_over):
        names = generations(state, "/backup")
        wrong = [] if names else ["no generation"]
        if is_over and names == first:
            wrong.append("the new generation is missing")
        whole = [generation(state, "/backup", name) for name in names]
        return wrong, [state, *whole]

    recording = Recording("backup", base, mail.state, trace.read(log, mail.state)[0], run.ledger)
    recording.views = views
    return recording


def clock():
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def record_restore(run, base, log):
    """Over a state that is moved aside: either is whole, and what is not finished says so."""
    mail = run.appliance
    use(run, "smtp_in", "imap_append", "submission")
    backup, root = f"{mail.folder}/data/backup", f"{mail.folder}/data"
    command(mail, "backup", backup)
    shutil.copytree(root, base, symlinks=True)
    command(mail, "restore", backup, "--force", log=log)

    def views(state, is_over):
        new, *others = (within(state, ("", f"/state{end}"))
                        for end in ("", ".before-restore-1", ".restoring"))
        whole = [view for view in others if view.files and "/restoring" not in view.files]
        wrong = [] if "/state" in state.folders else ["no state"]
        if "/restoring" not in new.files:
            whole.insert(0, new)
        if is_over and (whole[0] is not new or len(whole) < 2):
            wrong.append("not finished")
        return wrong if whole else ["nothing is whole"], whole[:2]

    recording = Recording("restore", base, root, trace.read(log, root)[0], run.ledger)
    recording.views = views
    return recording


ENVIRONMENTS = ("store", "queue", "auth")


def damage(state):
    """One of the two roots of each database, that of the change before the last: LMDB refuses them,
    and nothing is lost. Returns {path below the state: (content before, content now)}."""
    found = {}
    for name in ENVIRONMENTS:
        path = f"/{name}/env/data.mdb"
        with open(state + path, "r+b") as file:
            before = file.read()
            size = struct.unpack_from("<I", before, 40)[0]  # of a page: behind its head and 24
            older = min((0, size), key=lambda at: struct.unpack_from("<Q", before, at + 144)[0])
            file.seek(older)
            file.write(b"\0" * size)
            file.seek(0)
            found[path] = (before, file.read())
    return found


def sum_bytes(data):
    return hashlib.blake2b(data, digest_size=16).digest()


def record_recover(run, base, log):
    """Of damaged databases: each is the damaged one or the new one, which has everything; and the
    damaged one is kept."""
    mail = run.appliance
    use(run, "smtp_in", "imap_expunge", "submission", "administration")
    found = damage(mail.state)
    shutil.copytree(mail.state, base, symlinks=True)
    command(mail, "recover", log=log)
    whole = {path: (sum_bytes(before), before) for path, (before, _) in found.items()}
    damaged = {path: sum_bytes(now) for path, (_, now) in found.items()}

    def views(state, is_over):
        wrong, files = [], dict(state.files)
        for path in damaged:
            folder = os.path.dirname(path)
            kept = [name for name, (digest, _) in files.items()
                    if os.path.dirname(name) == folder and digest == damaged[path]]
            if not kept:
                wrong.append(f"the damaged {path} is gone")
            if path in kept:
                files[path] = whole[path]
                if is_over:
                    wrong.append(f"{path} was not recovered")
            elif path not in files:
                wrong.append(f"no {path}")
        return wrong, [disk.State(files, state.folders)]

    recording = Recording("recover", base, mail.state, trace.read(log, mail.state)[0], run.ledger)
    recording.views = views
    return recording


COMMANDS = {"compact": record_compact, "backup": record_backup, "restore": record_restore,
            "recover": record_recover}


# --- the replay -----------------------------------------------------------------------------------
def moments(events):
    """(place, what, event) in order: operations begin, flushes begin and end."""
    found = []
    for event in events:
        if event.kind == "send":
            continue
        found.append((event.begin, 0, "begin", event))
        if event.done is not None and (event.kind == "sync" or event.is_durable):
            found.append((event.done, 1, "end", event))
    found.sort(key=lambda moment: moment[:2])
    return [(place, what, event) for place, _, what, event in found]


def load(recording):
    """The disk at the start, with the paths of the run."""
    d = disk.Disk(recording.base)
    d.now = {recording.root + path[len(recording.base):]: node for path, node in d.now.items()}
    return d


def settings_of(text):
    """Registers of settings.conf; a text that is not one of its lines is damage."""
    seen = {}
    for line in text.decode(errors="replace").split("\n"):
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r'([a-z0-9_.-]+) = "(.*)"', line)
        seen[("setting", match[1] if match else line)] = match[2] if match else "damaged"
    return seen


def certificates_of(files):
    """Registers of the certificates: the numbers that each index names; all must be whole. And of
    signing keys."""
    seen = {}
    for path, (_, data) in files.items():
        match = re.fullmatch(r"/keys/_dkim/([a-z0-9.-]+)[.]pem", path)
        if match:
            seen[("dkim", match[1])] = scenarios.signing_keys(data)
        match = re.fullmatch(r"/keys/([a-z0-9-]+)/index", path)
        if not match:
            continue
        slots = {words[0]: int(words[1]) for line in data.decode(errors="replace").split("\n")[1:]
                 if len(words := line.split()) == 3}
        for number in slots.values():
            bundle = files.get(f"/keys/{match[1]}/{number}.pem", ("", b""))[1]
            if not bundle.endswith(b"-----END CERTIFICATE-----\n"):
                slots = {"current": f"{number}.pem is not whole"}
                break
        seen[("cert", match[1])] = tuple(slots.get(slot, 0)
                                         for slot in ("current", "previous", "candidate"))
    return seen


class Result:
    def __init__(self):
        self.states = set()       # digests
        self.kill_states = set()  # of those: everything that was issued is there
        self.points = 0
        self.judged = 0
        self.failures = []

    def add(self, other):
        self.states |= other.states
        self.kill_states |= other.kill_states
        self.points += other.points
        self.judged += other.judged
        self.failures += other.failures


def replay(recording, rng, share, shard=(0, 1), extra=0, most=None, stop_at=None, inspect=INSPECT):
    """
    Judges a share of the states that power cuts may leave. shard (i, n): each nth crash point.
    most: states at most; stop_at: failures after which it is enough.
    """
    result = Result()
    d = load(recording)
    timeline = Timeline(recording.ledger, Clock(recording.events))
    inspector = Inspector(inspect, (scenarios.PASSWORD, scenarios.OTHER))
    work = tempfile.mkdtemp(prefix="mailstead-replay-", dir="/dev/shm")
    folders = [disk.Folder(os.path.join(work, f"state{i}")) for i in range(3)]
    reach, issued, seen = {}, {}, set()
    is_new, last_obligation, point = True, None, 0

    def wrongs(state, place, is_over):
        wrong, views = recording.views(state, is_over)
        for view, folder in zip(views, folders):
            folder.show(view)
            settings = settings_of(view.files.get("/conf/settings.conf", ("", b""))[1])
            wrong += judge(inspector.look(folder.path), recording.ledger, timeline, place,
                           {**settings, **certificates_of(view.files)})
        return wrong

    def look(place, is_over=False):
        for applied in d.choices(rng, extra):
            if share < 1 and rng.random() >= share:
                continue
            state = d.state(applied)
            if applied is d.pending:
                result.kill_states.add(state.digest())
            key = (state.digest(), timeline.obligations(place), is_over)
            if key in seen:
                continue
            seen.add(key)
            result.states.add(key[0])
            result.judged += 1
            wrong = wrongs(state, place, is_over)
            if wrong:
                result.failures.append((recording.name, place, wrong[:5]))

    def is_enough():
        return (stop_at and len(result.failures) >= stop_at) or (
            most and result.judged >= most)

    for place, what, event in moments(recording.events):
        if event.kind != "sync" or what == "end":
            obligation = timeline.obligations(place - 1)
            if is_new or obligation != last_obligation:
                point += 1
                if point % shard[1] == shard[0]:
                    result.points += 1
                    look(place - 1)
                is_new, last_obligation = False, obligation
        if is_enough():
            break
        if what == "begin" and event.kind == "sync":
            reach[id(event)] = list(d.pending)
        elif what == "begin":
            op = d.issue(event)
            issued[id(event)] = op
            is_new = is_new or op is not None
        elif event.kind == "sync":
            is_new = d.flush(event.path, reach.pop(id(event))) or is_new
        else:
            op = issued.pop(id(event))
            is_new = (op is not None and d.flush_op(op)) or is_new
    else:
        look(moments(recording.events)[-1][0] + 1_000_000, is_over=True)
    inspector.close()
    shutil.rmtree(work, ignore_errors=True)
    return result


def shard_worker(arguments):
    recording, seed, share, shard, extra, most, stop_at = arguments
    return replay(recording, random.Random(f"{seed}{shard}"), share, shard, extra, most, stop_at)


def replay_all(recording, seed, share=1.0, workers=2, extra=0, most=None, stop_at=None):
    total = Result()
    tasks = [(recording, seed, share, (i, workers), extra, most and most // workers, stop_at)
             for i in range(workers)]
    if workers == 1:
        return shard_worker(tasks[0])
    with multiprocessing.Pool(workers) as pool:
        for result in pool.imap_unordered(shard_worker, tasks):
            total.add(result)
    return total
