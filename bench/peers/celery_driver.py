"""Celery on a Redis broker: its prefork pool, and producers that wait for Redis."""

import importlib.metadata
import json
import os
import subprocess
import sys
import threading
import time

import redis

import stand

#: Threads that publish; more share one interpreter lock and get less done.
PUBLISHERS = 16


def settings(asked):
    """The application's settings: those of the driver and those that were asked for."""
    url = f"redis+socket://{asked['server']}"
    return {"broker_url": url, "result_backend": url, **asked["celery"]}


def produce(counters):
    """The other process: publishers that each wait for their acknowledgement."""
    from celery_app import noop

    def client():
        while not counters.stop.value:
            if counters.crowded():
                time.sleep(0.002)
                continue
            noop.apply_async(args=[stand.PAYLOAD])
            counters.add(1)

    threads = [threading.Thread(target=client, daemon=True) for _ in range(PUBLISHERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main():
    asked, counters = stand.read_input(), stand.Counters()
    os.environ["PEER_CELERY"] = json.dumps(settings(asked))
    broker = redis.Redis(unix_socket_path=asked["server"])
    broker.flushall()
    command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker"]
    command += ["--loglevel=ERROR", "--pool=prefork", f"--concurrency={asked['processes']}"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    workers = [
        subprocess.Popen([*command, f"--hostname={number}@peers"], stdout=sys.stderr)
        for number in range(asked["workers"])
    ]
    producer = stand.process(produce, counters)

    def done():
        # A message is in the list until a worker takes it, and unacknowledged until it is done
        # with it, or without late acknowledgement until it has begun.
        added = counters.added.value
        with broker.pipeline() as pipe:
            counters.done.value = added - sum(pipe.llen("celery").hlen("unacked").execute())
        return counters.done.value

    def follow():
        while not counters.stop.value:
            done()
            time.sleep(0.02)

    threading.Thread(target=follow, daemon=True).start()
    try:
        outcome = stand.measure(asked, done)
    finally:
        counters.stop.value = 1
        producer.kill()
        for worker in workers:
            worker.kill()
    names = ("celery", "kombu", "redis", "hiredis")
    stand.report(outcome, {name: importlib.metadata.version(name) for name in names})


if __name__ == "__main__":
    main()
