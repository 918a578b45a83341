"""
What was acknowledged, kept outside of the system. Everything that can be observed is a register: a
message's place, its flags, a mailbox's name, a password. A register is written by one client at a
time: a write was begun (when its request was sent) and, later, acknowledged. After a crash a
register has its last acknowledged value, or that of a later write which had begun.
"""
from collections import namedtuple

# begun, acked: (connection, bytes that the server had sent); acked None: never.
Write = namedtuple("Write", "value begun acked")
BEFORE = None


class Ledger:
    def __init__(self):
        self.registers = {}
        self.followed = {}   # register -> writes that are answers of others to what was sent
        self.sums = {}       # token -> SHA-256 of the message from the token on
        self.passwords = []  # all that were ever tried
        self.numbers = {}    # address -> account number

    def write(self, register, value, begun, acked):
        self.registers.setdefault(register, []).append(Write(value, begun, acked))

    def follow(self, register, value, begun, acked=None):
        """A write that comes behind those of the client, whichever is written down first."""
        self.followed.setdefault(register, []).append(Write(value, begun, acked))

    def writes(self, register):
        return self.registers.get(register, []) + self.followed.get(register, [])

    def value(self, register, default=frozenset()):
        """As the client knows it: the last acknowledged."""
        for write in reversed(self.writes(register)):
            if write.acked is not None or write.begun is BEFORE:
                return write.value
        return default

    def may_be(self, register):
        """Every value that it may have now: the last acknowledged, and what was begun since."""
        values = []
        for write in self.writes(register):
            if write.acked is not None or write.begun is BEFORE:
                values = []
            values.append(write.value)
        return values

    def mark(self):
        """How much of it there is."""
        return ({register: len(writes) for register, writes in self.registers.items()},
                {register: len(writes) for register, writes in self.followed.items()})

    def as_of(self, mark):
        """As somebody sees it who looked between then and now: what came since may be there."""
        then = Ledger()
        then.sums, then.numbers = self.sums, self.numbers
        for mine, its, counts in ((self.registers, then.registers, mark[0]),
                                  (self.followed, then.followed, mark[1])):
            for register, writes in mine.items():
                count = counts.get(register, 0)
                its[register] = writes[:count] + [write._replace(acked=None)
                                                  for write in writes[count:]]
        return then

    def collapse(self):
        """Everything that was acknowledged was there before what comes now."""
        for register in self.registers:
            self.registers[register] = [Write(self.value(register), BEFORE, None)]


class Now:
    """The clock of somebody who looks afterwards: everything has begun, what was answered was."""

    @staticmethod
    def place(mark):
        return 0 if mark is BEFORE else 1


class Clock:
    """When, in the order of a trace, a server had sent how much on a connection."""

    def __init__(self, events):
        self.sent = {}  # key -> [(bytes so far, place where the call began)]
        for event in events:
            if event.kind == "send":
                list_of = self.sent.setdefault(event.key, [(0, 0)])
                list_of.append((list_of[-1][0] + event.offset, event.begin))

    def place(self, mark):
        """The place at which so many bytes may have reached the client."""
        if mark is BEFORE:
            return 0
        key, count = mark
        for total, place in self.sent.get(key, [(0, 0)]):
            if total >= count:
                return place
        raise AssertionError(f"{mark}: the trace has only {self.sent.get(key, [])[-3:]}")


class Timeline:
    """The ledger along a trace: which values a register may have at a place."""

    def __init__(self, ledger, clock):
        self.registers = {}
        for register in ledger.registers.keys() | ledger.followed.keys():
            self.registers[register] = [(w.value, clock.place(w.begun), self.acked(w, clock))
                                        for w in ledger.writes(register)]
        self.places = sorted({p for writes in self.registers.values()
                              for _, begun, acked in writes for p in (begun, acked) if p})

    @staticmethod
    def acked(write, clock):
        if write.acked is not None:
            return clock.place(write.acked)
        return 0 if write.begun is BEFORE else None

    def allowed(self, register, place, default=frozenset()):
        values = [default]
        for value, begun, acked in self.registers[register]:
            if begun > place:
                break
            if acked is not None and acked <= place:
                values = [value]
            else:
                values.append(value)
        return values

    def obligations(self, place):
        """Changes only where what is allowed changes."""
        low, high = 0, len(self.places)
        while low < high:
            middle = (low + high) // 2
            if self.places[middle] <= place:
                low = middle + 1
            else:
                high = middle
        return low
