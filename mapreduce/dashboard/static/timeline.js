// A bar for each attempt on each executor. What became of it shows in colour, in pattern and as a sign; one bar at a
// time is in the order of focus, the arrow keys go to its neighbours.

import { h } from "./dom.js";
import { bytes, clock, count, seconds, short, whole } from "./format.js";
import { OUTCOMES, stageName, workerName } from "./words.js";

const LANE = 22;
const HEAD = 22; // the name of a worker, above its lanes
const AXIS = 24;
const GAP = 3; // between two lanes
const MIN_WIDTH = 2.5;
const MOST_ZOOM = 64;

const cursor = { key: "", shown: false };
let stretch = 1;
let marks = new Map(); // key -> {made: of what, is: the cursor, node}: only what has changed is made anew
let last = { job: null, scale: 0, bars: [] };

export function zoom(by, draw) {
  stretch = Math.min(Math.max(stretch * by, 1), MOST_ZOOM);
  draw();
}

export function focusTimeline() {
  document.querySelector("#bars [tabindex='0']")?.focus();
}

export function timeline(job, draw) {
  const { lanes, begin, end, hidden, merged, attempts } = job.timeline;
  if (!lanes.length) return h("p", { class: "faint" }, "No task has started yet.");
  const span = Math.max((end - begin) * 1000, 1);
  const room = Math.max((document.querySelector(".timeline .scroller")?.clientWidth || 600) - 2, 120);
  const width = room * stretch;
  const scale = width / span;
  const rows = layout(lanes);
  const height = rows.reduce((sum, row) => sum + row.height, 0) + AXIS;
  const bars = placed(job, rows, scale, span);
  if (bars.length && !bars.some((bar) => bar.key === cursor.key)) cursor.key = bars[0].key;
  const current = bars.find((bar) => bar.key === cursor.key);
  return [
    h(
      "div",
      { class: "row tools" },
      legend(bars),
      h("span", { class: "spring" }),
      h("span", { class: "row zoom" }, tool("−", "Shrink the timeline (-)", stretch > 1, () => zoom(0.5, draw)), h("span", { class: "faint" }, `${stretch} ×`), tool("+", "Stretch the timeline (+)", stretch < MOST_ZOOM, () => zoom(2, draw))),
    ),
    h(
      "div",
      { class: "timeline" },
      h("div", { class: "lanes", "aria-hidden": "true" }, rows.map((row) => h("div", { class: row.head ? "worker" : "lane", style: { height: `${row.height}px` }, title: row.title }, row.text)), h("div", { style: { height: `${AXIS}px` } })),
      h(
        "div",
        { class: "scroller", onscroll: () => hide(draw) },
        h(
          "svg",
          { width: Math.round(width), height, role: "group", "aria-label": `${count(attempts, "attempt")} over ${seconds(span / 1000)}`, onkeydown: (event) => move(event, bars, draw), onmouseleave: () => hide(draw) },
          patterns(),
          h("g", { key: "grid" }, grid(width, height, scale, span, begin, rows)),
          h("g", { key: "bars", id: "bars" }, marked(bars, draw)),
        ),
      ),
      cursor.shown && current && tip(current, job),
    ),
    (merged || hidden > 0) &&
      h("p", { class: "faint small" }, merged && `There are ${whole(attempts)} attempts: neighbours too short to be told apart share a bar; the red part of it is what failed or was lost. `, hidden > 0 && `${count(hidden, "worker")} more are not drawn.`),
  ];
}

function tool(text, label, enabled, onclick) {
  return h("button", { class: "icon small", type: "button", "aria-label": label, title: label, disabled: !enabled, onclick }, text);
}

/** Rows from top to bottom: a head for each worker, then its executors. */
function layout(lanes) {
  const rows = [];
  const workers = new Set(lanes.map((lane) => lane.worker));
  let last = null;
  for (const lane of lanes) {
    const name = workerName(lane.worker);
    if (lane.slot < 0) {
      rows.push({ height: LANE, text: name, title: lane.worker, bars: lane.bars, lane });
      continue;
    }
    if (lane.worker !== last && workers.size > 0) rows.push({ head: true, height: HEAD, text: name, title: lane.worker, bars: [] });
    last = lane.worker;
    rows.push({ height: LANE, text: String(lane.slot), title: `${lane.worker}, executor ${lane.slot}`, bars: lane.bars, lane });
  }
  return rows;
}

function placed(job, rows, scale, span) {
  if (last.job !== job || last.scale !== scale) last = { job, scale, bars: place(rows, scale, span, job) };
  return last.bars;
}

/** Where each bar is, and what it stands for. */
function place(rows, scale, span, job) {
  const all = [];
  let top = 0;
  rows.forEach((row, number) => {
    for (const bar of row.bars) {
      const [begin, end, stage, index, outcome, many, copy, records, size, failed, message] = bar;
      const x = begin * scale;
      all.push({
        key: `${row.lane.worker} ${row.lane.slot} ${stage} ${index} ${begin}`,
        row: number,
        lane: row.lane,
        x,
        y: top + GAP / 2,
        width: Math.max(((end < 0 ? span : end) - begin) * scale, MIN_WIDTH),
        height: row.height - GAP,
        secs: ((end < 0 ? span : end) - begin) / 1000,
        at: job.timeline.begin + begin / 1000,
        begin, stage, index, outcome, many, copy, records, size, failed, message,
      });
    }
    top += row.height;
  });
  for (const bar of all) {
    bar.label = describe(bar, job);
    bar.made = `${bar.x.toFixed(1)} ${bar.width.toFixed(1)} ${bar.y} ${bar.many} ${bar.label}`;
  }
  return all;
}

function describe(bar, job) {
  const what = bar.many > 1 ? `${bar.many} attempts of ${stageName(job, bar.stage)}` : `${stageName(job, bar.stage)} ${bar.index}${bar.copy ? ", a copy" : ""}`;
  const fate = bar.many > 1 && bar.failed ? `${bar.failed} failed or lost` : OUTCOMES[bar.outcome].text;
  const where = bar.lane.slot < 0 ? workerName(bar.lane.worker) : `${workerName(bar.lane.worker)} executor ${bar.lane.slot}`;
  return `${what}: ${fate}, ${seconds(bar.secs)}, on ${where}${bar.message ? `: ${bar.message}` : ""}`;
}

function marked(bars, draw) {
  const before = marks;
  marks = new Map();
  const all = bars.map((bar) => {
    const known = before.get(bar.key);
    const is = bar.key === cursor.key;
    const found = known && known.is === is && known.made === bar.made ? known : { is, made: bar.made, failed: bar.failed > 0, node: mark(bar, draw) };
    marks.set(bar.key, found);
    return found;
  });
  // those that matter above their neighbours
  return [...all.filter((each) => !each.failed), ...all.filter((each) => each.failed)].map((each) => each.node);
}

function mark(bar, draw) {
  const sign = `${bar.copy ? "²" : ""}${OUTCOMES[bar.outcome].sign}`;
  const room = bar.width;
  const name = bar.many > 1 ? `× ${bar.many}` : String(bar.index);
  const mixed = bar.many > 1 && bar.failed > 0 && bar.failed < bar.many;
  const look = mixed ? "won" : bar.outcome;
  const share = Math.max(bar.failed / bar.many, 0.2) * bar.height; // of the bar, what failed of it
  const label = `${sign} ${name}`.trim();
  const text = room > 7 * label.length + 8 ? label : room > 11 ? sign : "";
  return h(
    "g",
    {
      key: bar.key,
      class: `bar ${look}${mixed ? " mixed" : ""} stage${bar.stage % 4}${bar.copy ? " copy" : ""}${bar.key === cursor.key ? " current" : ""}`,
      role: "img",
      "aria-label": bar.label,
      tabindex: bar.key === cursor.key ? "0" : "-1",
      onmouseenter: () => point(bar.key, draw),
      onclick: () => point(bar.key, draw),
      onfocus: () => point(bar.key, draw),
      onblur: () => hide(draw),
    },
    h("rect", { class: "fill", x: bar.x.toFixed(1), y: bar.y, width: bar.width.toFixed(1), height: bar.height, rx: Math.min(3, bar.width / 2).toFixed(1) }),
    mixed && h("rect", { class: "share", x: bar.x.toFixed(1), y: (bar.y + bar.height - share).toFixed(1), width: bar.width.toFixed(1), height: share.toFixed(1) }),
    ["failed", "lost", "running"].includes(look) && h("rect", { class: "texture", x: bar.x.toFixed(1), y: bar.y, width: bar.width.toFixed(1), height: bar.height, rx: 3, fill: `url(#${bar.outcome}-texture)` }),
    text && h("text", { x: (bar.x + Math.min(5, bar.width / 2 - 3.5)).toFixed(1), y: bar.y + bar.height / 2 + 4 }, text),
    room <= 11 && ["failed", "lost"].includes(look) && flag(bar),
  );
}

/** What matters is seen, however short it was. */
function flag(bar) {
  const x = (bar.x + bar.width / 2).toFixed(1);
  const y = bar.y + bar.height / 2;
  return [h("circle", { class: "flag", cx: x, cy: y, r: 7.5 }), h("text", { x, y: y + 4, "text-anchor": "middle" }, OUTCOMES[bar.outcome].sign)];
}

function patterns() {
  const hatch = (id, d) => h("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse" }, h("path", { d, class: "hatch" }));
  return h("defs", { key: "patterns" }, hatch("failed-texture", "M-1 1 l2 -2 M0 6 l6 -6 M5 7 l2 -2"), hatch("lost-texture", "M1 1 h1.5 M4 4 h1.5"), hatch("running-texture", "M0 0 l6 6 M-1 5 l2 2 M5 -1 l2 2"));
}

function grid(width, height, scale, span, begin, rows) {
  const step = niceStep((90 / width) * span);
  const lines = [];
  for (let at = 0; at <= span; at += step) {
    const x = (at * scale).toFixed(1);
    const near = at * scale > width - 30;
    lines.push(h("line", { key: `t${at}`, class: "tick", x1: x, x2: x, y1: 0, y2: height - AXIS }), h("text", { key: `x${at}`, class: "axis", x, y: height - 7, "text-anchor": at === 0 ? "start" : near ? "end" : "middle" }, at === 0 ? "0" : seconds(at / 1000)));
  }
  let top = 0;
  rows.forEach((row, number) => {
    if (!row.head) lines.push(h("rect", { key: `r${number}`, class: "track", x: 0, y: top + GAP / 2, width, height: row.height - GAP, rx: 3 }));
    top += row.height;
  });
  return lines.reverse();
}

function niceStep(least) {
  const steps = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 15000, 30000, 60000, 120000, 300000, 600000, 1800000, 3600000];
  return steps.find((step) => step >= least) || Math.ceil(least / 3600000) * 3600000;
}

function point(key, draw) {
  if (cursor.shown && cursor.key === key) return;
  cursor.key = key;
  cursor.shown = true;
  draw();
}

function hide(draw) {
  if (!cursor.shown) return;
  cursor.shown = false;
  draw();
}

function move(event, bars, draw) {
  const current = bars.find((bar) => bar.key === cursor.key);
  if (!current) return;
  const lane = bars.filter((bar) => bar.row === current.row);
  const at = lane.indexOf(current);
  let next = null;
  if (event.key === "ArrowRight") next = lane[at + 1];
  else if (event.key === "ArrowLeft") next = lane[at - 1];
  else if (event.key === "Home") next = bars[0];
  else if (event.key === "End") next = bars[bars.length - 1];
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const rows = [...new Set(bars.map((bar) => bar.row))];
    const row = rows[rows.indexOf(current.row) + (event.key === "ArrowDown" ? 1 : -1)];
    next = bars.filter((bar) => bar.row === row).sort((a, b) => Math.abs(a.begin - current.begin) - Math.abs(b.begin - current.begin))[0];
  } else return;
  event.preventDefault();
  if (!next) return;
  const target = [...document.querySelectorAll("#bars > g")].find((node) => node.mrKey === next.key);
  point(next.key, draw);
  target?.focus();
  target?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function tip(bar, job) {
  const scroller = document.querySelector(".timeline .scroller");
  const gutter = document.querySelector(".timeline .lanes")?.offsetWidth || 0;
  const visible = scroller?.clientWidth || 300;
  const middle = bar.x + Math.min(bar.width / 2, 160) - (scroller?.scrollLeft || 0);
  const half = Math.min(160, (gutter + visible) * 0.46);
  const x = Math.min(Math.max(gutter + middle, half), gutter + visible - half);
  const rows = [
    ["outcome", `${OUTCOMES[bar.outcome].sign} ${OUTCOMES[bar.outcome].text}${bar.many > 1 && bar.failed ? ` (${bar.failed} of ${bar.many})` : ""}`.trim()],
    ["began", `${clock(bar.at)}, +${seconds(bar.begin / 1000)}`],
    ["took", seconds(bar.secs)],
    bar.outcome === "won" && ["read", `${short(bar.records)} records, ${bytes(bar.size)}`],
    ["on", `${workerName(bar.lane.worker)}${bar.lane.slot < 0 ? "" : ` · ${bar.lane.slot}`}`],
  ].filter(Boolean);
  return h(
    "div",
    { class: "tip", role: "tooltip", key: "tip", style: { left: `${x.toFixed(0)}px`, top: `${(bar.y + bar.height + 8).toFixed(0)}px` } },
    h("strong", {}, bar.many > 1 ? `${count(bar.many, "attempt")} of ${stageName(job, bar.stage)}` : `${stageName(job, bar.stage)} ${bar.index}${bar.copy ? " (copy)" : ""}`),
    h("dl", {}, rows.map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)])),
    bar.message && h("p", { class: "message" }, bar.message),
  );
}

function legend(bars) {
  const present = new Set(bars.map((bar) => bar.outcome));
  return h(
    "ul",
    { class: "legend", "aria-label": "Signs" },
    Object.entries(OUTCOMES)
      .filter(([name]) => present.has(name))
      .map(([name, { sign, text }]) => h("li", { key: name }, h("span", { class: `swatch ${name}`, "aria-hidden": "true" }, sign), text)),
    bars.some((bar) => bar.copy) && h("li", { key: "copy" }, h("span", { class: "swatch copy", "aria-hidden": "true" }, "²"), "copy of a slow task"),
  );
}
