"""What a run did to its disk and told its clients, in order: recorded with strace, no preload."""
import re

CALLS = ("openat,open,creat,lseek,write,pwrite64,writev,pwritev,pwritev2,rename,renameat,renameat2,"
         "unlink,unlinkat,rmdir,ftruncate,truncate,fallocate,fsync,fdatasync,sync_file_range,mkdir,"
         "mkdirat,link,linkat,symlink,symlinkat,copy_file_range,sendfile,sendmsg,sendto,"
         "clone,clone3,fork,vfork,msync,syncfs")


def command(log):
    """strace in front of a program: every byte written, every descriptor's name."""
    return ["strace", "-f", "--seccomp-bpf", "-yy", "-xx", "-s", "100000000", "-o", log,
            "-e", f"trace={CALLS}"]


LINE = re.compile(r"^(\d+)\s+(.*)$")
WHOLE = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+|\?)(.*)$", re.S)
BEGUN = re.compile(r"^(\w+)\((.*?),? <unfinished \.\.\.>$", re.S)
RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)\)\s+= (-?\d+|\?)(.*)$", re.S)
DESCRIPTOR = re.compile(r"^(\d+|AT_FDCWD)<((?:->|[^>])*)>")
STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
BASES = re.compile(r'iov_base="((?:\\x[0-9a-f]{2})*)"')
TCP = re.compile(r"TCP(?:v6)?:\[.*?:(\d+)->.*:(\d+)\]")
UNIX = re.compile(r"UNIX-STREAM:\[\d+->(\d+)")


def unhex(text):
    return bytes.fromhex(text.replace("\\x", ""))


class Call:
    """One system call; begin and end are places in the order of everything."""
    __slots__ = ("pid", "name", "args", "begin", "end", "result", "tail")

    def __init__(self, pid, name, args, begin):
        self.pid, self.name, self.args, self.begin = pid, name, args, begin
        self.end = self.result = None
        self.tail = ""


def calls(path):
    """All calls in the order in which they began; the count of places."""
    found, open_calls = [], {}
    place = 0
    with open(path, encoding="ascii", errors="replace") as log:
        for line in log:
            match = LINE.match(line.rstrip("\n"))
            if not match:
                continue
            pid, text = int(match[1]), match[2]
            if text.startswith(("---", "+++")):
                continue
            place += 1
            whole = WHOLE.match(text)
            if whole and not text.startswith("<..."):
                call = Call(pid, whole[1], whole[2], place)
                call.end, call.tail = place, whole[4]
                call.result = int(whole[3]) if whole[3] != "?" else None
                found.append(call)
                continue
            resumed = RESUMED.match(text)
            if resumed:
                call = open_calls.pop(pid, None)
                if call:
                    call.end, call.tail = place, resumed[4]
                    call.args += resumed[2]
                    call.result = int(resumed[3]) if resumed[3] != "?" else None
                continue
            begun = BEGUN.match(text)
            if begun:
                call = Call(pid, begun[1], begun[2], place)
                open_calls[pid] = call
                found.append(call)
    return found, place


def descriptor(args):
    """(number, path or socket) of the first argument."""
    match = DESCRIPTOR.match(args)
    if not match:
        number = re.match(r"^(\d+)", args)
        return (int(number[1]) if number else -1), ""
    name = match[2]
    if name.startswith("\\x"):
        name = unhex(name.split("(")[0]).decode(errors="replace")
    return (int(match[1]) if match[1] != "AT_FDCWD" else -100), name


def split_paths(args):
    """Folder and string arguments of renameat and the like: [absolute path, ...]."""
    paths, folder = [], ""
    for match in re.finditer(r'(?:(\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>)|"((?:\\x[0-9a-f]{2})*)"',
                             args):
        if match[3] is None:
            folder = unhex(match[2]).decode(errors="replace")
        else:
            path = unhex(match[3]).decode(errors="replace")
            paths.append(path if path.startswith("/") else f"{folder}/{path}")
    return paths


class Event:
    """kind: create, data, size, entry, sync, send; done: where it has ended (None: it did not)."""
    __slots__ = ("kind", "begin", "done", "path", "other", "offset", "data", "is_durable", "key")

    def __init__(self, kind, call, **more):
        self.kind, self.begin, self.done = kind, call.begin, call.end
        self.path = self.other = self.key = None
        self.offset, self.data, self.is_durable = 0, b"", False
        for name, value in more.items():
            setattr(self, name, value)


class Reader:
    """Turns calls into events below a folder, and bytes sent over sockets."""

    def __init__(self, root):
        self.root = root
        self.group = {}     # thread -> process
        self.position = {}  # (process, descriptor) -> offset
        self.flags = {}     # (process, descriptor) -> flags of its opening
        self.events = []

    def is_ours(self, path):
        return path == self.root or path.startswith(self.root + "/")

    def process(self, pid):
        return self.group.get(pid, pid)

    def add(self, kind, call, **more):
        self.events.append(Event(kind, call, **more))

    def read(self, path):
        found, places = calls(path)
        for call in found:
            if call.result is not None and call.result < 0:
                continue
            handler = getattr(self, "on_" + call.name.rstrip("0123456789"), None)
            if handler:
                handler(call)
        return self.events, places

    # --- processes ------------------------------------------------------------------------------
    def on_clone(self, call):
        if call.result and "CLONE_THREAD" in call.args:
            self.group[call.result] = self.process(call.pid)

    # --- names ----------------------------------------------------------------------------------
    def on_openat(self, call):
        target = re.match(r"^<((?:\\x[0-9a-f]{2})*)", call.tail)
        if not target or call.result is None:
            return
        path = unhex(target[1]).decode(errors="replace")
        where = (self.process(call.pid), call.result)
        self.position[where] = 0
        self.flags[where] = call.args
        if self.is_ours(path) and ("O_CREAT" in call.args or "O_TRUNC" in call.args):
            self.add("create", call, path=path, data="O_TRUNC" in call.args)

    on_open = on_creat = on_openat

    def on_rename(self, call):
        paths = split_paths(call.args)
        if len(paths) == 2 and (self.is_ours(paths[0]) or self.is_ours(paths[1])):
            self.add("rename", call, path=paths[0], other=paths[1],
                     data="RENAME_EXCHANGE" in call.args)

    on_renameat = on_rename

    def on_unlink(self, call):
        paths = split_paths(call.args)
        if paths and self.is_ours(paths[-1]):
            self.add("unlink", call, path=paths[-1])

    on_unlinkat = on_rmdir = on_unlink

    def on_mkdir(self, call):
        paths = split_paths(call.args)
        if paths and self.is_ours(paths[-1]):
            self.add("mkdir", call, path=paths[-1])

    on_mkdirat = on_mkdir

    def on_link(self, call):
        paths = split_paths(call.args)
        if len(paths) == 2 and self.is_ours(paths[1]):
            self.add("link", call, path=paths[0], other=paths[1])

    on_linkat = on_link

    def on_symlink(self, call):
        assert not self.is_ours(split_paths(call.args)[-1]), "such links are not in the model"

    on_symlinkat = on_symlink

    # --- content --------------------------------------------------------------------------------
    def write(self, call, data, offset):
        number, path = descriptor(call.args)
        where = (self.process(call.pid), number)
        if not self.is_ours(path):
            return
        if call.result is not None:
            data = data[:call.result]
        if offset is None:
            offset = self.position.get(where, 0)
            self.position[where] = offset + len(data)
        flags = self.flags.get(where, "")
        assert "O_APPEND" not in flags, "appending is not in the model"
        self.add("data", call, path=path, offset=offset, data=data,
                 is_durable="O_DSYNC" in flags or "O_SYNC" in flags)

    def on_write(self, call):
        number, name = descriptor(call.args)
        if not self.is_ours(name):
            self.on_sendto(call)
            return
        self.write(call, unhex(STRING.search(call.args)[1]), None)

    def on_pwrite(self, call):
        self.write(call, unhex(STRING.search(call.args)[1]), int(call.args.rsplit(",", 1)[1]))

    def on_writev(self, call):
        if not self.is_ours(descriptor(call.args)[1]):
            self.on_sendto(call)
            return
        self.write(call, b"".join(unhex(part) for part in BASES.findall(call.args)), None)

    def on_pwritev(self, call):
        # The argument behind the vector and its length.
        offset = int(call.args.rsplit("]", 1)[1].split(",")[2])
        self.write(call, b"".join(unhex(part) for part in BASES.findall(call.args)), offset)

    def on_lseek(self, call):
        number, _ = descriptor(call.args)
        self.position[(self.process(call.pid), number)] = call.result

    def on_copy_file_range(self, call):
        ends = [(int(m[1]), unhex(m[2]).decode()) for m in
                re.finditer(r"(\d+)<((?:\\x[0-9a-f]{2})*)>", call.args)]
        if len(ends) != 2 or not self.is_ours(ends[1][1]) or not call.result:
            return
        assert call.args.count("NULL") == 2, call.args
        process = self.process(call.pid)
        at = [self.position.get((process, number), 0) for number, _ in ends]
        for (number, _), start in zip(ends, at):
            self.position[(process, number)] = start + call.result
        self.add("copy", call, path=ends[1][1], other=ends[0][1], offset=at[1],
                 data=(at[0], call.result))

    def on_sendfile(self, call):
        assert not self.is_ours(descriptor(call.args)[1]), "sendfile is not in the model"

    def on_ftruncate(self, call):
        _, path = descriptor(call.args)
        if self.is_ours(path):
            self.add("size", call, path=path, offset=int(call.args.rsplit(",", 1)[1]))

    def on_fallocate(self, call):
        _, path = descriptor(call.args)
        mode, offset, length = call.args.rsplit(",", 3)[1:]
        if self.is_ours(path) and "KEEP_SIZE" not in mode:
            self.add("grow", call, path=path, offset=int(offset) + int(length))

    def on_fsync(self, call):
        _, path = descriptor(call.args)
        if self.is_ours(path):
            self.add("sync", call, path=path)

    on_fdatasync = on_fsync

    def on_syncfs(self, call):
        self.add("sync", call)

    def on_msync(self, call):
        assert self.root not in call.args, "mapped writes are not in the model"

    # --- what clients are told ------------------------------------------------------------------
    def on_sendto(self, call):
        _, name = descriptor(call.args)
        match = TCP.search(name)
        if match:
            # Named by the client's port, whichever side that is.
            keys = [("tcp", int(match[2])), ("out", int(match[1]))]
        else:
            match = UNIX.search(name)
            keys = [("unix", int(match[1]))] if match else []
        for key in keys:
            self.add("send", call, key=key, offset=call.result or 0)

    on_sendmsg = on_sendto


def read(log, root):
    return Reader(root).read(log)
