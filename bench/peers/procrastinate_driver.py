"""Procrastinate: a worker with many jobs at once, finished jobs deleted."""

import asyncio
import importlib.metadata
import logging

import procrastinate

import stand

#: Jobs at once and connections of the worker: more wait for the server's two cores.
CONCURRENCY = 24

logging.disable(logging.WARNING)


def make_app(server, connections, handled=None):
    """The application over a pool of so many connections; `handled` counts its jobs."""
    connector = procrastinate.PsycopgConnector(
        conninfo=server, min_size=1, max_size=connections
    )
    app = procrastinate.App(connector=connector)

    @app.task(name="noop")
    async def noop(payload):
        with handled.get_lock():
            handled.value += 1
        return stand.RESULT

    return app, noop


def produce(asked, counters):
    """The other process: so many clients, each waiting for its acknowledgement."""

    async def client(noop):
        batch = [{"payload": stand.PAYLOAD}] * asked["batch"]
        while not counters.stop.value:
            if counters.crowded():
                await asyncio.sleep(0.002)
                continue
            if len(batch) == 1:
                await noop.defer_async(**batch[0])
            else:
                await noop.batch_defer_async(*batch)
            counters.add(len(batch))

    async def clients():
        app, noop = make_app(asked["server"], min(asked["clients"], CONCURRENCY))
        async with app.open_async():
            await asyncio.gather(*(client(noop) for _ in range(asked["clients"])))

    asyncio.run(clients())


def work(asked, handled):
    """A worker process."""

    async def jobs():
        app, _ = make_app(asked["server"], CONCURRENCY + 2, handled)
        async with app.open_async():
            await app.run_worker_async(
                concurrency=CONCURRENCY,
                delete_jobs="always",
                install_signal_handlers=False,
            )

    asyncio.run(jobs())


async def prepare(asked):
    """An empty queue."""
    app, _ = make_app(asked["server"], 1)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


def main():
    asked, counters = stand.read_input(), stand.Counters()
    asyncio.run(prepare(asked))
    processes = [stand.process(produce, asked, counters)]
    handled = counters.done
    processes += [stand.process(work, asked, handled) for _ in range(asked["workers"])]
    try:
        # A job is counted when it starts; as many are under way at the end as at the start.
        outcome = stand.measure(asked, lambda: handled.value)
    finally:
        for process in processes:
            process.kill()
    names = ("procrastinate", "psycopg")
    stand.report(outcome, {name: importlib.metadata.version(name) for name in names})


if __name__ == "__main__":
    main()
