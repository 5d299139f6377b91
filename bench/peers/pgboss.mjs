// pg-boss, with batches, burst fetching and an outcome for every job of a batch.
import pg from "pg";
import { PgBoss } from "pg-boss";
import { input, result, run, version } from "./stand.mjs";

const BATCH_SIZE = 100;
const LOCAL_CONCURRENCY = 4;
const QUEUE = "noop";

const boss = (options) => {
  const made = new PgBoss({ connectionString: input.server, ...options });
  made.on("error", (error) => console.error(error.message));
  return made;
};

run({
  versions: { "pg-boss": version("pg-boss"), node: process.version },
  async prepare() {
    const made = boss();
    await made.start();
    await made.createQueue(QUEUE);
    await made.stop();
  },
  async produce() {
    const made = boss({ supervise: false, schedule: false, max: 10 });
    await made.start();
    return {
      enqueue: (payloads) =>
        payloads.length === 1
          ? made.send(QUEUE, payloads[0])
          : made.insert(QUEUE, payloads.map((data) => ({ data }))),
      close: () => made.stop({ graceful: false }),
    };
  },
  async work(handle) {
    const made = boss({ max: 10 });
    await made.start();
    const options = {
      batchSize: BATCH_SIZE,
      localConcurrency: LOCAL_CONCURRENCY,
      pollingIntervalSeconds: 0.5,
      burstWhenBatchFull: true,
      perJobResults: true,
    };
    await made.work(QUEUE, options, async (jobs) =>
      jobs.map((job) => {
        handle(job.data);
        return { id: job.id, status: "completed", output: result };
      }),
    );
    const counter = new pg.Pool({ connectionString: input.server, max: 1 });
    return {
      // Completed jobs are kept; what is neither waiting nor at work is done.
      async completed(added) {
        const sql = `SELECT count(*)::int AS left FROM pgboss.job
          WHERE name = $1 AND state < 'completed'`;
        const { rows } = await counter.query(sql, [QUEUE]);
        return added - rows[0].left;
      },
      close: () => made.stop({ graceful: false }),
    };
  },
});
