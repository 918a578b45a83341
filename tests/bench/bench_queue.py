"""A long queue: many recipients wait, half of them for a domain that is dead, the others for 500
that are not. Memory, the time until the others have theirs, the first attempt after a restart.

    make bench-queue [BENCH="--waiting 100000"]
"""
import argparse
import os
import smtplib
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from appliance import PASSWORD, Appliance, free_ports, tls_context  # noqa: E402
from bench_outbound import BODY, Sink  # noqa: E402
from internet import Dns  # noqa: E402

DOMAINS = 500
TOGETHER = 500  # recipients of a message


def memory(box):
    with open(f"/proc/{box.pids()['smtpd-send']}/smaps_rollup", encoding="ascii") as rollup:
        rows = {line.split()[0]: int(line.split()[1]) for line in rollup if ":" in line[:20]}
    return rows["Private_Dirty:"] / 1024, rows["Pss:"] / 1024


def fill(box, part, count):
    client = smtplib.SMTP_SSL("127.0.0.1", box.ports["submissions"], context=tls_context())
    client.login("alice@example.test", PASSWORD)
    for k in range(count):
        rcpts = [f"r{part}-{k}-{i}@{'dead.test' if i % 2 else f'd{(k * 7 + i) % DOMAINS}.test'}"
                 for i in range(TOGETHER)]
        client.sendmail("alice@example.test", rcpts, BODY)
    client.quit()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--waiting", type=int, default=100000)
    options = parser.parse_args()
    dns, port = Dns(), free_ports(1)[0]
    sink = Sink(port, False)
    for i in range(DOMAINS):
        dns.mail_domain(f"d{i}.test", f"127.0.{4 + i // 200}.{1 + i % 200}")
    dns.mail_domain("dead.test", "127.255.255.254")
    box = Appliance(accounts=("alice",), settings={
        "dns.server": dns.address, "dns.trust_anchor": "none", "outbound.port": str(port),
        "queue.map_size": "8G", "smtp.recipients_max": "1000"})
    with box:
        box.ctl("queue", "pause")
        print(f"empty: {memory(box)[0]:.1f} MB private")
        threads = [threading.Thread(target=fill, args=(
            box, part, options.waiting // TOGETHER // 8)) for part in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        waiting = options.waiting // TOGETHER // 8 * 8 * TOGETHER
        print(f"{waiting} wait: {memory(box)[0]:.1f} MB private")
        box.ctl("queue", "resume")
        started, most = time.monotonic(), 0
        pid = box.kill("smtpd-send")
        while box.pids().get("smtpd-send") in (None, pid):
            time.sleep(0.001)
        first = None
        born = time.monotonic()
        while sink.count() < waiting // 2 // 50:  # a message has up to 50 of its domain
            if first is None and sink.count() > 0:
                first = time.monotonic() - born
            if time.monotonic() - started > 120:
                break
            most = max(most, memory(box)[0])
            time.sleep(0.01)
        print(f"first message {first:.2f} s after the process began, at most {most:.1f} MB private")
        while [r for r in box.ctl("queue", "list") if not r["recipient"].endswith("@dead.test")]:
            time.sleep(0.2)
            most = max(most, memory(box)[0])
            assert time.monotonic() - started < 300
        print(f"the others have theirs after {time.monotonic() - started:.1f} s, {sink.count()} "
              f"messages, at most {most:.1f} MB private")
    sink.close()
    dns.close()


if __name__ == "__main__":
    main()
