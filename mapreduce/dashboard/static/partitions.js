// How evenly the input of each stage lies in its partitions: the largest one decides how long the stage takes.

import { h } from "./dom.js";
import { bytes, count } from "./format.js";
import { stageName } from "./words.js";

const HEIGHT = 84;
const UNEVEN = 2; // times the median

export function partitions(job) {
  const shown = job.partitions.filter((stage) => stage.count > 0);
  if (!shown.length) return h("p", { class: "faint" }, "Shown when tasks after the first stage are done.");
  return shown.map((stage) => chart(job, stage));
}

function chart(job, { stage, each, count: number, bytes: sizes, skew }) {
  const most = Math.max(...sizes, 1);
  const [median, largest, partition] = skew || [0, 0, -1]; // without it, too few are known to compare them
  const times = median ? largest / median : largest ? Infinity : 1;
  const uneven = times >= UNEVEN;
  const ratio = median ? `largest is ${times.toFixed(1)} × the median` : "most are empty";
  const known = median ? `, ${times.toFixed(1)} times the median` : ": most are empty";
  const words = count(number, "partition") + (skew ? `; median ${bytes(median)}, largest ${bytes(largest)} (number ${partition})${known}` : "");
  const width = 100 / sizes.length;
  return h(
    "figure",
    { class: "columns", key: stage },
    h("figcaption", { class: "row" }, h("span", {}, stageName(job, stage)), h("span", { class: "spring" }), skew && h("span", { class: uneven ? "warn" : "faint" }, uneven ? `! ${ratio}` : ratio)),
    h(
      "svg",
      { viewBox: `0 0 100 ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `${stageName(job, stage)}: ${words}` },
      sizes.map((size, at) => {
        const tall = Math.max((size / most) * (HEIGHT - 4), size ? 1 : 0);
        const it = Math.floor(partition / each) === at && uneven;
        return h("rect", { key: at, class: it ? "column uneven" : "column", x: (at * width + width * 0.1).toFixed(2), width: (width * 0.8).toFixed(2), y: (HEIGHT - tall).toFixed(1), height: tall.toFixed(1) }, h("title", {}, each > 1 ? `${at * each} to ${at * each + each - 1}: at most ${bytes(size)}` : `${at}: ${bytes(size)}`));
      }),
      median > 0 && h("line", { class: "median", x1: 0, x2: 100, y1: (HEIGHT - (median / most) * (HEIGHT - 4)).toFixed(1), y2: (HEIGHT - (median / most) * (HEIGHT - 4)).toFixed(1), "vector-effect": "non-scaling-stroke" }),
    ),
    h("p", { class: "faint small" }, words),
  );
}
