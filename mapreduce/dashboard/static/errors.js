// Failed attempts: those with the same message as one entry, the traceback and the record as their code met them.

import { h } from "./dom.js";
import { clock, whole } from "./format.js";
import { stageName, workerName } from "./words.js";

const KINDS = {
  raised: "raised an exception",
  input: "input is not what its format says",
  value: "cannot be encoded",
  died: "its process died",
  timeout: "took longer than --task-timeout",
  memory: "used more than --max-memory",
  counters: "too many counters",
  code: "the job does not load there",
  disk: "the worker's disk",
  files: "the worker has no file descriptors left",
  lost: "data was lost",
};

export function errors(job) {
  const groups = new Map();
  for (const error of job.errors) {
    const key = [error.stage, error.kind, error.message, error.record].join("\u0000");
    groups.set(key, [...(groups.get(key) || []), error]);
  }
  const shown = [...groups].reverse();
  return h("ul", { class: "errors" }, shown.map(([key, group], number) => entry(job, key, group, number === 0)));
}

function entry(job, key, group, first) {
  const error = group[group.length - 1];
  const task = `${stageName(job, error.stage)} ${error.index}`;
  const place = error.source ? `${error.source}${error.offset >= 0 ? `, byte ${whole(error.offset)}` : ""}` : "";
  return h(
    "li",
    { key },
    h(
      "details",
      { initial: { open: first } },
      h("summary", {}, h("span", { class: "sign bad", "aria-hidden": "true" }, "✕"), h("span", { class: "message" }, error.message), h("span", { class: "faint" }, `${task}${group.length > 1 ? `, ${group.length} times` : ""} · ${clock(error.at)}`)),
      h(
        "dl",
        { class: "pairs" },
        pair("What", `${KINDS[error.kind] || error.kind}${error.function ? `, in ${error.function}` : ""}`),
        pair("Where", place),
        pair("Record", error.record && h("code", { class: "record" }, error.record)),
        pair("Worker", h("span", { title: error.worker }, workerName(error.worker))),
      ),
      error.traceback && h("pre", { class: "traceback", tabindex: "0", "aria-label": "Traceback" }, error.traceback),
    ),
  );
}

function pair(term, value) {
  return value ? [h("dt", {}, term), h("dd", {}, value)] : null;
}
