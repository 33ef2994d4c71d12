// One job, from its outcome down to what its code printed.

import { h } from "./dom.js";
import { bytes, clock, date, seconds, short, whole } from "./format.js";
import { phase, stageName, workerName } from "./words.js";
import { progress, sign } from "./jobs.js";
import { stages } from "./stages.js";
import { timeline } from "./timeline.js";
import { throughput } from "./throughput.js";
import { partitions } from "./partitions.js";
import { errors } from "./errors.js";
import { log } from "./log.js";

export function jobPage(id, job, overview, { cancel, draw }) {
  if (!job) {
    const listed = overview?.jobs.some((each) => each.id === id);
    const text = listed || !overview ? "Reading the job's log …" : "Looking for the job's log …";
    return h("p", { class: "faint", role: "status" }, text);
  }
  if (job.missing) return missing(id);
  if (job.broken) return h("p", { class: "note bad", role: "alert" }, "✕ ", job.broken);
  if (made.job !== job) made = { job, before: before(job, cancel), after: after(job) };
  return [made.before, section("Attempts over time", "timeline", timeline(job, draw)), made.after];
}

// All but the timeline changes with the job alone: what pointer and focus do there must cost nothing here.
let made = { job: null, before: [], after: [] };

function before(job, cancel) {
  return [
    head(job, cancel),
    job.gone && h("p", { class: "note warn" }, "! The job's log has been deleted; this is what was known last."),
    job.cause && h("p", { class: `note ${phase(job.phase).kind}` }, sign(job.phase), " ", job.cause),
    figures(job),
    section("Stages", "stages", stages(job)),
  ];
}

function after(job) {
  return [
    h("div", { class: "two" }, section("Throughput", "throughput", throughput(job)), section("Partitions", "partitions", partitions(job))),
    job.errors.length > 0 && section(errorsTitle(job), "errors", errors(job)),
    h("div", { class: "two" }, section("Slowest attempts", "slowest", slowest(job)), section("Counters", "counters", counters(job))),
    section("Log", "log", log(job)),
    section("Settings", "settings", settings(job)),
  ];
}

function errorsTitle(job) {
  const more = job.attempts.failed > job.errors.length;
  return more ? `Errors (the last ${job.errors.length} of ${whole(job.attempts.failed)})` : `Errors (${job.errors.length})`;
}

function missing(id) {
  return h(
    "div",
    { class: "empty card" },
    h("p", { class: "big" }, "There is no such job (any more)."),
    h("p", { class: "faint" }, "Its log ", h("code", {}, id), " is not on the broker: it was delivered, given up or deleted. ", h("a", { href: "#/" }, "All jobs")),
  );
}

function section(title, id, body) {
  return h("section", { class: "card", "aria-labelledby": `${id}-title`, key: id }, h("h2", { id: `${id}-title` }, title), h("div", { id, tabindex: "-1", class: "body" }, body));
}

function head(job, cancel) {
  const { kind, text } = phase(job.phase);
  return h(
    "div",
    { class: "jobhead" },
    h("div", { class: "titles" }, h("h1", {}, job.name || job.id), h("span", { class: "row" }, h("span", { class: `pill ${kind}`, id: "phase" }, sign(job.phase), text), h("code", { class: "faint" }, job.id))),
    job.can_cancel && h("button", { class: "button danger", type: "button", id: "cancel", onclick: cancel, title: "Cancel (c)" }, "Cancel job"),
  );
}

function figures(job) {
  const { done, total, part } = progress(job.stages);
  const over = job.ended_at !== null;
  const took = (job.ended_at ?? job.at) - job.submitted_at;
  const troubles = job.attempts.failed + job.attempts.lost;
  const sum = job.stages[0] || { records_in: 0, bytes_in: 0 };
  return h(
    "dl",
    { class: "figures" },
    figure("Tasks", total ? `${short(done)} / ${short(total)}` : "–", over ? "" : `${Math.floor(part * 100)} %`),
    figure(over ? "Took" : "Running for", job.submitted_at ? seconds(took) : "–", over ? `ended ${clock(job.ended_at)}` : `since ${clock(job.submitted_at)}`),
    over
      ? figure("Input", short(sum.records_in), `records, ${bytes(sum.bytes_in)}`)
      : figure("Throughput", `${short(job.pace.records)}/s`, `${bytes(job.pace.bytes)}/s`),
    over ? figure("Records a second", short(job.pace.records), "of all stages, over all of its time") : figure("Time left", job.pace.secs_left === null ? "–" : job.pace.secs_left < 1 ? "< 1 s" : seconds(job.pace.secs_left), "about"),
    figure("Attempts", whole(job.attempts.all), job.attempts.copies ? `copies: ${whole(job.attempts.copies)}` : ""),
    figure("Failed or lost", whole(troubles), troubles ? `${whole(job.attempts.failed)} failed, ${whole(job.attempts.lost)} lost` : "none", troubles ? "bad" : ""),
  );
}

function figure(term, value, more, kind = "") {
  return h("div", { class: `figure ${kind}` }, h("dt", {}, term), h("dd", {}, h("span", { class: "value" }, value), h("span", { class: "more" }, more || "\u00a0")));
}

function slowest(job) {
  if (!job.slowest.length) return h("p", { class: "faint" }, "No attempt has ended yet.");
  const most = Math.max(...job.slowest.map((each) => each.secs), 0.001);
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": "Slowest attempts" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ["Task", "Time", "Records", "Read", "Worker"].map((text) => h("th", { scope: "col" }, text)))),
      h(
        "tbody",
        {},
        job.slowest.map((each) =>
          h(
            "tr",
            {},
            h("td", {}, `${stageName(job, each.stage)} ${each.index}`),
            h("td", { class: "number" }, h("span", { class: "meter inline", "aria-hidden": "true" }, h("span", { class: "fill", style: { width: `${((each.secs / most) * 100).toFixed(1)}%` } })), seconds(each.secs)),
            h("td", { class: "number" }, short(each.records)),
            h("td", { class: "number" }, bytes(each.bytes)),
            h("td", { class: "faint", title: each.worker }, workerName(each.worker)),
          ),
        ),
      ),
    ),
  );
}

function counters(job) {
  const all = Object.entries(job.counters);
  if (!all.length) return h("p", { class: "faint" }, "The job has counted nothing (", h("code", {}, "mapreduce.count"), ").");
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Counters" }, h("table", {}, h("tbody", {}, all.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "number" }, whole(value)))))));
}

function settings(job) {
  const { pool, interpreter, partitions: parts, tries, split_bytes: split, input } = job.settings;
  const rows = [
    ["Submitted", date(job.submitted_at)],
    ["Input", input || "–"],
    ["Split", split ? bytes(split) : "–"],
    ["Partitions", parts],
    ["Tries", tries],
    ["Pool", pool],
    ["Interpreter", interpreter],
  ];
  return h("dl", { class: "pairs" }, rows.map(([term, value]) => [h("dt", {}, term), h("dd", {}, String(value ?? "–"))]));
}
