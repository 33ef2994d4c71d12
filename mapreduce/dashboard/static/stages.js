// Each stage as one bar: done, running, failed before and waiting, each with its number in words.

import { h } from "./dom.js";
import { bytes, short, whole } from "./format.js";

export function stages(job) {
  return h("ol", { class: "stages" }, job.stages.map((stage) => row(stage)));
}

function row(stage) {
  const total = stage.total ?? Math.max(stage.done + stage.running + stage.waiting, 1);
  const waiting = Math.max(0, stage.waiting - stage.failed);
  const parts = [
    ["done", stage.done],
    ["running", stage.running],
    ["failed", stage.failed],
    ["waiting", waiting],
  ];
  const words = parts.filter(([, number]) => number).map(([name, number]) => `${whole(number)} ${name === "failed" ? "to try again" : name}`);
  const known = stage.total === null ? (stage.sealed ? ", more to come" : "") : "";
  const said = words.join(", ") || (stage.total === 0 ? "nothing to do" : "waits for the stage before it");
  return h(
    "li",
    { key: stage.number },
    h("div", { class: "row" }, h("span", { class: "name" }, stage.name), h("span", { class: "faint" }, `${said}${known}`), h("span", { class: "spring" }), h("span", { class: "faint flow" }, `${short(stage.records_in)} → ${short(stage.records_out)} records`, h("span", { class: "sizes" }, ` · ${bytes(stage.bytes_in)} → ${bytes(stage.bytes_out)}`))),
    h(
      "div",
      { class: "stack", role: "progressbar", "aria-label": stage.name, "aria-valuemin": "0", "aria-valuemax": String(total), "aria-valuenow": String(stage.done), "aria-valuetext": said },
      parts.map(([name, number]) => number > 0 && h("span", { key: name, class: `part ${name}`, style: { width: `${((number / total) * 100).toFixed(2)}%` } })),
    ),
  );
}
