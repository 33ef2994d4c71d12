// All workers: each executor is a square, filled while it is at work.

import { h } from "./dom.js";
import { bytes, seconds, whole } from "./format.js";

export function workersPage(overview) {
  if (!overview) return h("p", { class: "faint" }, "Asking the workers …");
  const { workers } = overview;
  const slots = workers.reduce((sum, worker) => sum + worker.slots, 0);
  const busy = workers.reduce((sum, worker) => sum + worker.running.length, 0);
  const memory = workers.reduce((sum, worker) => sum + worker.memory_bytes, 0);
  return [
    h("h1", {}, "Workers"),
    overview.silent > 0 && h("p", { class: "note warn" }, "! ", `${overview.silent} more did not answer within two seconds.`),
    h("dl", { class: "figures four" }, figure("Workers", whole(workers.length)), figure("Executors", whole(slots)), figure("At work", whole(busy)), figure("Memory", bytes(memory))),
    !workers.length && h("div", { class: "empty card" }, h("p", { class: "big" }, "No workers."), h("pre", {}, "mr worker --broker URL")),
    h("div", { class: "cards wide" }, workers.map((worker) => card(worker, overview))),
  ];
}

function figure(term, value) {
  return h("div", { class: "figure" }, h("dt", {}, term), h("dd", {}, h("span", { class: "value" }, value)));
}

function card(worker, overview) {
  const names = new Map(overview.jobs.map((job) => [job.id, job.name]));
  const idle = Math.max(0, worker.slots - worker.running.length);
  return h(
    "article",
    { class: "card worker", key: worker.worker, "aria-label": worker.worker },
    h("div", { class: "row" }, h("h2", {}, worker.host), h("span", { class: "faint" }, `pid ${worker.pid}`), h("span", { class: "spring" }), worker.draining && h("span", { class: "pill warn" }, "! leaving")),
    h("p", { class: "faint" }, `mapreduce ${worker.version} · ${worker.python}${worker.pool === "default" ? "" : ` · pool ${worker.pool}`} · ${bytes(worker.memory_bytes)} · up ${seconds(worker.now - worker.since)}`),
    h("p", { class: "slots", role: "img", "aria-label": `${worker.running.length} of ${worker.slots} executors at work` }, worker.running.map(() => h("span", { class: "slot busy" })), Array.from({ length: idle }, () => h("span", { class: "slot" }))),
    worker.running.length > 0 &&
      h(
        "ul",
        { class: "doing" },
        worker.running.map((each) => h("li", {}, h("a", { href: `#/jobs/${each.job}` }, names.get(each.job) || each.job), ` stage ${each.stage} task ${each.task}`, h("span", { class: "faint" }, ` for ${seconds(each.secs)}`))),
      ),
    worker.coordinates.length > 0 && h("p", { class: "faint" }, "coordinates ", worker.coordinates.map((job, at) => [at > 0 && ", ", h("a", { href: `#/jobs/${job}` }, names.get(job) || job)])),
  );
}
