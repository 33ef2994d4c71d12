// Records and bytes a second over the job's time: each attempt's spread over the time that it took.

import { h } from "./dom.js";
import { bytes, seconds, short } from "./format.js";

const WIDTH = 480;
const HEIGHT = 92;

export function throughput(job) {
  const { records, bytes: sizes, step } = job.throughput;
  if (!records.some((value) => value > 0)) return h("p", { class: "faint" }, "Counted when the first task is done.");
  return [chart("Records", records, step, (value) => `${short(value)}/s`, "records"), chart("Bytes", sizes, step, (value) => `${bytes(value)}/s`, "bytes")];
}

function chart(name, values, step, show, kind) {
  const most = Math.max(...values);
  const x = (at) => ((at / (values.length - 1)) * WIDTH).toFixed(1);
  const y = (value) => (HEIGHT - (value / (most || 1)) * (HEIGHT - 6)).toFixed(1);
  const line = values.map((value, at) => `${at ? "L" : "M"}${x(at)} ${y(value)}`).join("");
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return h(
    "figure",
    { class: "curve", key: kind },
    h("figcaption", { class: "row" }, h("span", {}, name), h("span", { class: "spring" }), h("span", { class: "faint" }, `mean ${show(mean)}, at most ${show(most)}`)),
    h(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `${name} a second over ${seconds(step * values.length)}: mean ${show(mean)}, at most ${show(most)}`, class: kind },
      h("line", { class: "tick", x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }),
      h("path", { class: "area", d: `${line}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z` }),
      h("path", { class: "edge", d: line, "vector-effect": "non-scaling-stroke" }),
    ),
  );
}
