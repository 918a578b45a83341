"""
A disk with a power switch. Operations are issued one after the other; what was not flushed may be
there after a power cut, or not, each for itself (strict POSIX: a file's content by fsync of the
file, a name by fsync of its folder), or in the order of a journal (ordered metadata, as ext4 does
it: names and sizes in their order, content before the size that reaches it).
"""
import hashlib
import os

SECTOR = 512


class Node:
    """A file or folder; data and entries are what is durable."""
    __slots__ = ("is_folder", "data", "entries", "sum")

    def __init__(self, is_folder):
        self.is_folder = is_folder
        self.data = b""
        self.entries = {}
        self.sum = None

    def digest(self):
        if self.sum is None:
            self.sum = hashlib.blake2b(self.data, digest_size=16).digest()
        return self.sum


class Op:
    """kind data: node, offset, data; size: node, offset; entry: changes [(folder, name, node)]."""
    __slots__ = ("kind", "node", "offset", "data", "changes", "shape")

    def __init__(self, kind, node=None, offset=0, data=b"", changes=(), shape=False):
        self.kind, self.node, self.offset, self.data = kind, node, offset, data
        self.changes = changes
        self.shape = shape  # changes names or sizes: the journal's

    def apply(self, content):
        if self.kind == "size":
            return content[:self.offset].ljust(self.offset, b"\0")
        content = content.ljust(self.offset, b"\0")
        return content[:self.offset] + self.data + content[self.offset + len(self.data):]

    def torn(self):
        """Its first half, cut between sectors; None if it is too small for that."""
        if self.kind != "data":
            return None
        middle = (self.offset + len(self.data) // 2) // SECTOR * SECTOR
        if not self.offset < middle < self.offset + len(self.data):
            return None
        return Op("data", self.node, self.offset, self.data[:middle - self.offset])


class Disk:
    def __init__(self, root):
        """Starts as the folder root is now, all of it durable."""
        self.root_path = root
        self.root = Node(True)
        self.pending = []
        self.now = {root: self.root}  # paths as processes see them
        self.size = {}                # id(node) -> size as processes see it
        self.load(root, self.root)

    def load(self, path, node):
        for entry in os.scandir(path):
            child = Node(entry.is_dir(follow_symlinks=False))
            if entry.is_symlink() or not (child.is_folder or entry.is_file()):
                continue
            node.entries[entry.name] = child
            self.now[entry.path] = child
            if child.is_folder:
                self.load(entry.path, child)
            else:
                with open(entry.path, "rb") as file:
                    child.data = file.read()
                self.size[id(child)] = len(child.data)

    # --- operations -----------------------------------------------------------------------------
    def parent(self, path):
        folder, name = os.path.split(path)
        return self.now[folder], name

    def content(self, node):
        """As processes see it."""
        data = node.data
        for op in self.pending:
            if op.node is node:
                data = op.apply(data)
        return data

    def issue(self, event):
        """The operation of an event, None if it changes nothing."""
        make = getattr(self, "do_" + event.kind)
        op = make(event)
        if op:
            self.pending.append(op)
        return op

    def do_create(self, event):
        node = self.now.get(event.path)
        if node is None:
            node = Node(False)
            self.now[event.path] = node
            self.size[id(node)] = 0
            folder, name = self.parent(event.path)
            return Op("entry", changes=((folder, name, node),), shape=True)
        if event.data and not node.is_folder and self.size[id(node)]:
            self.size[id(node)] = 0
            return Op("size", node, 0, shape=True)
        return None

    def do_mkdir(self, event):
        node = Node(True)
        self.now[event.path] = node
        folder, name = self.parent(event.path)
        return Op("entry", changes=((folder, name, node),), shape=True)

    def do_unlink(self, event):
        if self.now.pop(event.path, None) is None:
            return None
        folder, name = self.parent(event.path)
        return Op("entry", changes=((folder, name, None),), shape=True)

    def take_below(self, path):
        """{rest of the path: node} of what is there and below; it is nowhere then."""
        return {p[len(path):]: self.now.pop(p) for p in list(self.now)
                if p == path or p.startswith(path + "/")}

    def do_rename(self, event):
        moved = self.take_below(event.path)
        gone = self.take_below(event.other)
        self.now.update((event.other + rest, node) for rest, node in moved.items())
        node = moved[""]
        old, old_name = self.parent(event.path)
        new, new_name = self.parent(event.other)
        if event.data:
            self.now.update((event.path + rest, other) for rest, other in gone.items())
            return Op("entry", changes=((old, old_name, gone[""]), (new, new_name, node)),
                      shape=True)
        return Op("entry", changes=((old, old_name, None), (new, new_name, node)), shape=True)

    def do_link(self, event):
        """A second name: the node is the same."""
        node = self.now[event.path]
        self.now[event.other] = node
        folder, name = self.parent(event.other)
        return Op("entry", changes=((folder, name, node),), shape=True)

    def do_data(self, event):
        node = self.now.get(event.path)
        if node is None or not event.data:
            return None
        end = event.offset + len(event.data)
        grows = end > self.size[id(node)]
        self.size[id(node)] = max(end, self.size[id(node)])
        return Op("data", node, event.offset, event.data, shape=grows)

    def do_copy(self, event):
        start, length = event.data
        event.data = self.content(self.now[event.other])[start:start + length]
        return self.do_data(event)

    def do_size(self, event):
        node = self.now.get(event.path)
        if node is None or self.size[id(node)] == event.offset:
            return None
        self.size[id(node)] = event.offset
        return Op("size", node, event.offset, shape=True)

    def do_grow(self, event):
        node = self.now.get(event.path)
        if node is None or self.size[id(node)] >= event.offset:
            return None
        return self.do_size(event)

    # --- flushes --------------------------------------------------------------------------------
    @staticmethod
    def settle(op):
        if op.kind == "entry":
            for folder, name, node in op.changes:
                if node is None:
                    folder.entries.pop(name, None)
                else:
                    folder.entries[name] = node
        else:
            op.node.data = op.apply(op.node.data)
            op.node.sum = None

    def flush_ops(self, is_meant):
        """True if anything was flushed."""
        kept = []
        for op in self.pending:
            if is_meant(op):
                self.settle(op)
            else:
                kept.append(op)
        changed = len(kept) != len(self.pending)
        self.pending = kept
        return changed

    def flush(self, path, before):
        """fsync that has ended: of what was issued before it began; without a path: of all."""
        if path is None:
            reach = set(map(id, before))
            return self.flush_ops(lambda op: id(op) in reach)
        node = self.now.get(path)
        if node is None:
            return False
        reach = set(map(id, before))
        if node.is_folder:
            return self.flush_ops(lambda op: id(op) in reach and op.kind == "entry" and
                                  any(folder is node for folder, _, _ in op.changes))
        return self.flush_ops(lambda op: id(op) in reach and op.node is node)

    def flush_op(self, op):
        return self.flush_ops(lambda other: other is op)

    # --- what a power cut may leave -------------------------------------------------------------
    def choices(self, rng, extra=0):
        """Lists of operations that were applied, of those that are not durable."""
        all_ops = self.pending
        yield all_ops
        if not all_ops:
            return
        yield []
        for i, op in enumerate(all_ops):
            yield all_ops[:i] + all_ops[i + 1:]
            if len(all_ops) > 1:
                yield [op]
        torn = all_ops[-1].torn()
        if torn:
            yield all_ops[:-1] + [torn]
        # A journal: names and sizes up to some point, content flushed or not.
        shapes = [i for i, op in enumerate(all_ops) if op.shape]
        for at in shapes:
            yield [op for i, op in enumerate(all_ops) if i < at or not op.shape]
            yield [op for i, op in enumerate(all_ops) if i < at and op.shape]
        for _ in range(extra):
            yield [op for op in all_ops if rng.random() < 0.5]

    def state(self, applied):
        """{path: node or (node, content)} of files, and folders, after these operations."""
        contents, entries = {}, {}
        for op in applied:
            if op.kind == "entry":
                for folder, name, node in op.changes:
                    mine = entries.setdefault(id(folder), dict(folder.entries))
                    if node is None:
                        mine.pop(name, None)
                    else:
                        mine[name] = node
            else:
                base = contents.get(id(op.node), op.node.data)
                contents[id(op.node)] = op.apply(base)
        files, folders = {}, []
        waiting = [("", self.root)]
        while waiting:
            path, folder = waiting.pop()
            for name, node in entries.get(id(folder), folder.entries).items():
                below = f"{path}/{name}"
                if node.is_folder:
                    folders.append(below)
                    waiting.append((below, node))
                elif name != "lock.mdb":
                    data = contents.get(id(node))
                    files[below] = (node.digest(), node.data) if data is None else (
                        hashlib.blake2b(data, digest_size=16).digest(), data)
        return State(files, folders)


class State:
    def __init__(self, files, folders):
        self.files, self.folders = files, folders

    def digest(self):
        total = hashlib.blake2b(digest_size=16)
        for path in sorted(self.files):
            total.update(path.encode() + b"\0" + self.files[path][0])
        for path in sorted(self.folders):
            total.update(path.encode() + b"/")
        return total.digest()


class Folder:
    """A real folder that is made to look like one state after the other."""

    def __init__(self, path):
        self.path = path
        os.makedirs(path)
        self.files = {}
        self.folders = set()

    def show(self, state):
        for path in sorted(self.folders - set(state.folders), reverse=True):
            self.remove_below(path)
        for path in sorted(set(state.folders) - self.folders):
            os.mkdir(self.path + path)
            self.folders.add(path)
        for path in set(self.files) - set(state.files):
            del self.files[path]
            os.unlink(self.path + path)
        for path, (digest, data) in state.files.items():
            if self.files.get(path) == digest:
                continue
            if path.endswith("/data.mdb"):
                lock = self.path + path[:-8] + "lock.mdb"
                if os.path.exists(lock):
                    os.unlink(lock)
            with open(self.path + path, "wb") as file:
                file.write(data)
            self.files[path] = digest

    def remove_below(self, path):
        for file in [f for f in self.files if f.startswith(path + "/")]:
            del self.files[file]
            os.unlink(self.path + file)
        lock = f"{self.path}{path}/lock.mdb"
        if os.path.exists(lock):
            os.unlink(lock)
        self.folders.discard(path)
        os.rmdir(self.path + path)
