// The half that the Node drivers share: two processes, one that puts jobs in and one that works
// them off, and the two measurements. A driver says how one queue does each; see graphile.mjs.
//
// Called with one JSON argument: {mode: "throughput" | "pickup", server, clients, batch, seconds,
// sample, warm_up, rate, ...}. Prints one JSON line on stdout. Times are of the machine's monotonic clock,
// which both processes share.
import { fork } from "node:child_process";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

/** What was asked for. */
export const input = JSON.parse(process.argv[2]);
/** What a job carries: 200 bytes as JSON. */
export const payload = { p: "x".repeat(192) };
/** What a job leaves: 100 bytes as JSON. */
export const result = { r: "x".repeat(92) };

const WARM_UP_S = input.warm_up;
/** Jobs that may wait before the producers hold back: enough for every batch, not a flood. */
const BACKLOG_JOBS_MAX = 5000;
/** How long jobs may take to start after the last arrival. */
const DRAIN_S = 10;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const now = () => Number(process.hrtime.bigint()) / 1e6;

/** The version of an installed package. */
export const version = (name) => require(`./node_modules/${name}/package.json`).version;

/**
 * Runs what was asked for.
 *
 * queue.produce() -> {enqueue(payloads), close()}: enqueue resolves when the queue has said that
 * the jobs are durable, as far as it can.
 * queue.prepare(): makes an empty queue.
 * queue.work(handle) -> {completed(added), close()}: calls handle(payload) at the start of each
 * job and stores what it returns; completed() says how many jobs of `added` are durably done.
 */
export async function run(queue) {
  if (process.send) return produce(queue);
  await queue.prepare();
  const document = await { throughput, pickup }[input.mode](queue);
  console.log(JSON.stringify({ ...document, versions: queue.versions }));
  process.exit(0);
}

/** The other process, with a question that it answers. */
function producer() {
  const child = fork(process.argv[1], [process.argv[2]], { stdio: ["ignore", 2, 2, "ipc"] });
  const waiting = [];
  child.on("message", (answer) => waiting.shift()?.(answer));
  child.on("exit", (code) => {
    if (code !== 0) {
      console.error(`the producer ended with ${code}`);
      process.exit(1);
    }
  });
  const ask = (question) =>
    new Promise((resolve) => {
      waiting.push(resolve);
      child.send(question);
    });
  return { ask, tell: (text) => child.send(text) };
}

async function produce(queue) {
  let [added, handled, going] = [0, 0, true];
  const acks = [];
  const sents = [];
  const at = await queue.produce();
  const clients = async () => {
    const payloads = Array(input.batch).fill(payload);
    while (going) {
      if (added - handled > BACKLOG_JOBS_MAX) {
        await sleep(1);
        continue;
      }
      await at.enqueue(payloads);
      added += input.batch;
    }
  };
  const arrivals = async () => {
    const start = now();
    const length = (input.seconds + WARM_UP_S) * 1e3;
    const under = new Set();
    for (let sent = 0; now() - start < length; await sleep(1)) {
      for (const due = ((now() - start) / 1e3) * input.rate; sent < due; sent += 1) {
        const job = sent;
        sents[job] = now();
        const one = at.enqueue([{ ...payload, job }]).then(() => {
          acks[job] = now();
          under.delete(one);
        });
        under.add(one);
      }
    }
    await Promise.all(under);
  };
  let work;
  process.on("message", async (question) => {
    if (question.handled !== undefined) handled = question.handled;
    else if (question === "added") process.send(added);
    else if (question === "clients") {
      work = Promise.all(Array.from({ length: input.clients }, clients));
    } else if (question === "arrivals") {
      await arrivals();
      process.send({ sents, acks });
    } else if (question === "stop") {
      going = false;
      await work;
      process.send(added);
      await at.close();
      process.disconnect();
      process.exit(0);
    }
  });
}

async function throughput(queue) {
  let handled = 0;
  const worker = await queue.work(() => {
    handled += 1;
    return result;
  });
  const other = producer();
  const feedback = setInterval(() => other.tell({ handled }), 5);
  other.tell("clients");
  const done = async () => {
    const added = await other.ask("added");
    return { at: now(), jobs: await worker.completed(added) };
  };
  await sleep(WARM_UP_S * 1e3);
  const first = await done();
  const series = [];
  let last = first;
  while (last.at - first.at < input.seconds * 1e3) {
    await sleep(Math.max(1, Math.min(input.sample, input.seconds) * 1e3 - 5));
    const next = await done();
    series.push(((next.jobs - last.jobs) * 1e3) / (next.at - last.at));
    last = next;
  }
  clearInterval(feedback);
  await other.ask("stop");
  await worker.close();
  const seconds = (last.at - first.at) / 1e3;
  return { per_second: (last.jobs - first.jobs) / seconds, seconds, series };
}

async function pickup(queue) {
  const starts = [];
  let handled = 0;
  const worker = await queue.work((data) => {
    starts[data.job] = now();
    handled += 1;
    return result;
  });
  const other = producer();
  const { sents, acks } = await other.ask("arrivals");
  for (const end = now() + DRAIN_S * 1e3; handled < sents.length && now() < end; ) await sleep(20);
  await other.ask("stop");
  await worker.close();
  const afterAck = [];
  const afterCall = [];
  let unstarted = 0;
  sents.forEach((sent, job) => {
    if (sent - sents[0] < WARM_UP_S * 1e3) return;
    if (starts[job] === undefined) unstarted += 1;
    else {
      // A worker may see the job before its caller is told of the commit.
      afterAck.push(Math.max(0, starts[job] - acks[job]));
      afterCall.push(starts[job] - sent);
    }
  });
  return { after_ack_ms: spread(afterAck), after_call_ms: spread(afterCall), unstarted };
}

function spread(times) {
  times.sort((a, b) => a - b);
  const at = (share) => times[Math.round((times.length - 1) * share)] ?? null;
  return { count: times.length, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}
