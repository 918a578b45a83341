"""What durable mail costs: messages of 1 KB a second with 1, 8 and 64 senders on port 25, flushes and
bytes written for each until it is in its mailbox, and the same with 12 ms added to every flush (a
preloaded library, tests/bench/slowflush.c, does that and counts).

    make bench-store [BENCH="--quick"]     --quick: a tenth of the messages
"""
import json
import os
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from appliance import BUILD, Appliance  # noqa: E402

LOAD = os.path.join(BUILD, "bench", "smtp_load")
PRELOAD = os.path.join(BUILD, "bench", "slowflush.so")
TO = "alice@example.test"
SHARE = 0.1 if "--quick" in sys.argv else 1


class Counted(Appliance):
    def __init__(self, delay_us):
        super().__init__(settings={"log.level": "warning"})
        os.mkdir(f"{self.folder}/run", 0o711)  # the folder that all programs may write to
        self.counter = f"{self.folder}/run/counter"
        with open(self.counter, "wb") as file:
            file.write(bytes(16))
        os.chmod(self.counter, 0o666)  # programs have users of their own
        self.env = {"LD_PRELOAD": PRELOAD, "SLOW_FLUSH": f"{delay_us}:{self.counter}"}

    def counts(self):
        with open(self.counter, "rb") as file:
            return struct.unpack("=QQ", file.read())

    def is_delivered(self):
        done = self.run_ctl("queue", "list")
        return done.returncode == 0 and json.loads(done.stdout) == []


def measure(server, senders, messages):
    flushes, written = server.counts()
    begun = time.monotonic()
    done = subprocess.run([LOAD, "send", str(server.ports["smtp"]), str(senders), str(messages),
                           "1024", "many", TO], check=True, stdout=subprocess.PIPE, text=True)
    seconds, bad = done.stdout.split()
    server.wait_for(server.is_delivered)
    everything = time.monotonic() - begun
    time.sleep(1.5)  # what is written lazily belongs to them too
    flushes, written = (b - a for a, b in zip((flushes, written), server.counts()))
    print(f"{senders:7} senders {messages / float(seconds):9.0f} accepted/s {messages / everything:9.0f}"
          f" delivered/s {flushes / messages:7.2f} flushes {written / messages / 1024:7.1f} KiB each"
          f"{'' if bad == '0' else f'   {bad} bad replies'}", flush=True)


for delay_us in (0, 12000):
    print(f"{delay_us // 1000} ms added to each flush:")
    with Counted(delay_us) as running:
        for senders, messages in ((1, 1500), (8, 4000), (64, 8000)):
            if delay_us:
                messages //= 5
            measure(running, senders, max(senders, int(messages * SHARE)))
