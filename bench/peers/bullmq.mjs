// BullMQ on Redis: one worker process with a high concurrency, finished jobs removed but for the
// last thousand, as its page on production advises.
import { Queue, Worker } from "bullmq";
import Redis from "ioredis";
import { input, run, version } from "./stand.mjs";

const NAME = "noop";
const CONCURRENCY = 128;
const connection = () => new Redis({ path: input.server, maxRetriesPerRequest: null });

run({
  versions: { bullmq: version("bullmq"), ioredis: version("ioredis"), node: process.version },
  async prepare() {
    const redis = connection();
    await redis.flushall();
    redis.disconnect();
  },
  async produce() {
    const queue = new Queue(NAME, { connection: connection() });
    return {
      enqueue: (payloads) =>
        payloads.length === 1
          ? queue.add("noop", payloads[0])
          : queue.addBulk(payloads.map((data) => ({ name: "noop", data }))),
      close: () => queue.close(),
    };
  },
  async work(handle) {
    let completed = 0;
    const worker = new Worker(NAME, async (job) => handle(job.data), {
      connection: connection(),
      concurrency: CONCURRENCY,
      removeOnComplete: { count: 1000 },
      removeOnFail: { count: 5000 },
    });
    worker.on("error", (error) => console.error(error.message));
    // Emitted when Redis has answered the move to the finished set.
    worker.on("completed", () => {
      completed += 1;
    });
    return { completed: async () => completed, close: () => worker.close(true) };
  },
});
