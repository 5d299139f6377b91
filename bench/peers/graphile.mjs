// graphile-worker, at the settings of its own published figures (or as it comes: batching: false).
import pg from "pg";
import { Logger, makeWorkerUtils, run as start } from "graphile-worker";
import { input, run, version } from "./stand.mjs";

const CONCURRENT_JOBS = 24;
const batching = input.batching ?? true;
// Warnings go to stderr; stdout belongs to the document.
const logger = new Logger(() => (level, message) => {
  if (level === "error") console.error(message);
});
const worker = {
  concurrentJobs: CONCURRENT_JOBS,
  maxPoolSize: CONCURRENT_JOBS + 1,
  ...(batching && { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }),
};
const pool = (max) => {
  const made = new pg.Pool({ connectionString: input.server, max });
  // Connections break when the database is removed after the measurement.
  made.on("error", (error) => console.error(error.message));
  made.on("connect", (client) => client.on("error", (error) => console.error(error.message)));
  return made;
};

run({
  versions: { "graphile-worker": version("graphile-worker"), node: process.version },
  async prepare() {
    const utils = await makeWorkerUtils({ connectionString: input.server, logger });
    await utils.migrate();
    await utils.release();
  },
  async produce() {
    const pgPool = pool(Math.min(input.clients ?? CONCURRENT_JOBS, CONCURRENT_JOBS));
    const utils = await makeWorkerUtils({ pgPool, logger });
    return {
      enqueue: (payloads) =>
        payloads.length === 1
          ? utils.addJob("noop", payloads[0])
          : utils.addJobs(payloads.map((payload) => ({ identifier: "noop", payload }))),
      close: () => utils.release(),
    };
  },
  async work(handle) {
    const pgPool = pool(CONCURRENT_JOBS + 1);
    const runner = await start({
      pgPool,
      logger,
      noHandleSignals: true,
      parsedCronItems: [],
      preset: { worker },
      taskList: {
        noop: async (payload) => {
          handle(payload);
        },
      },
    });
    const counter = pool(1);
    return {
      // A completed job is a deleted row, so what is not there any more is done.
      async completed(added) {
        const sql = "SELECT count(*)::int AS left FROM graphile_worker._private_jobs";
        const { rows } = await counter.query(sql);
        return added - rows[0].left;
      },
      close: () => runner.stop(),
    };
  },
});
