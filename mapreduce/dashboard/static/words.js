// What the engine calls things, and how the page shows them: each has a sign besides its colour.

export const PHASES = {
  reading: { sign: "◌", text: "its coordinator reads its log", kind: "runs" },
  submitting: { sign: "◌", text: "submitting", kind: "runs" },
  feeding: { sign: "▸", text: "running, input is coming", kind: "runs" },
  running: { sign: "▸", text: "running", kind: "runs" },
  ready: { sign: "✓", text: "done, output waits", kind: "good" },
  done: { sign: "✓", text: "done", kind: "good" },
  failed: { sign: "✕", text: "failed", kind: "bad" },
  cancelled: { sign: "■", text: "cancelled", kind: "still" },
  abandoned: { sign: "□", text: "given up", kind: "still" },
};

export const OUTCOMES = {
  won: { sign: "", text: "done" },
  running: { sign: "▸", text: "running" },
  failed: { sign: "✕", text: "failed" },
  lost: { sign: "?", text: "lost" },
  beaten: { sign: "−", text: "beaten by another attempt" },
  returned: { sign: "↩", text: "handed back" },
};

export function phase(name) {
  return PHASES[name] || { sign: "·", text: name, kind: "still" };
}

/** The name of a stage of this job. */
export function stageName(job, number) {
  return job.stages[number]?.name ?? `stage ${number}`;
}

/** "host:4711" of "host:4711:3fa9c1d2"; the rest is there to tell two lives of a process apart. */
export function workerName(worker) {
  return worker.split(":").slice(0, 2).join(":") || worker;
}
