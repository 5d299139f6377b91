"""The half that the Python drivers share: a process that puts jobs in, and the measurement.

Called with one JSON argument: {"server", "clients", "batch", "seconds", "sample", "warm_up", ..}. Prints
one JSON line on stdout.
"""

import json
import multiprocessing
import sys
import time

#: What a job carries: 200 bytes as JSON.
PAYLOAD = {"p": "x" * 191}
#: What a job leaves: 100 bytes as JSON.
RESULT = {"r": "x" * 91}
#: Jobs that may wait before the producers hold back: enough for every batch, not a flood.
BACKLOG_JOBS_MAX = 5000



def read_input():
    """What was asked for."""
    return json.loads(sys.argv[1])


class Counters:
    """What the two processes tell each other."""

    def __init__(self):
        self.added = multiprocessing.Value("q", 0)
        self.done = multiprocessing.Value("q", 0)
        self.stop = multiprocessing.Value("b", 0)

    def crowded(self):
        """Whether the producers have to wait."""
        return self.added.value - self.done.value > BACKLOG_JOBS_MAX

    def add(self, count):
        """Notes acknowledged jobs."""
        with self.added.get_lock():
            self.added.value += count


def process(target, *args):
    """A process of its own that ends with this one."""
    context = multiprocessing.get_context("fork")
    started = context.Process(target=target, args=args, daemon=True)
    started.start()
    return started


def measure(asked, done):
    """Lifecycles a second, where `done()` says how many jobs are."""

    def now():
        return time.monotonic(), done()

    # Worker processes take seconds to start.
    time.sleep(asked["warm_up"])
    first = last = now()
    series = []
    while last[0] - first[0] < asked["seconds"]:
        time.sleep(min(asked["sample"], asked["seconds"]))
        moment = now()
        series.append((moment[1] - last[1]) / (moment[0] - last[0]))
        last = moment
    seconds = last[0] - first[0]
    return {"per_second": (last[1] - first[1]) / seconds, "seconds": seconds, "series": series}


def report(document, versions):
    """Prints the document."""
    print(json.dumps({**document, "versions": versions}), flush=True)
