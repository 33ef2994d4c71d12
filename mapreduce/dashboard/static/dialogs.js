// What asks before it acts, and the list of shortcuts.

import { h } from "./dom.js";
import { SHORTCUTS } from "./keys.js";
import { announce } from "./news.js";
import { hasToken, keepToken, post } from "./session.js";

let open = null; // {kind, job, error, busy}

export function showShortcuts() {
  open = { kind: "shortcuts" };
}

export function askToCancel(job) {
  open = { kind: "cancel", job, error: "", busy: false };
}

export function closeDialog() {
  open = null;
}

export function dialogs(draw) {
  if (!open) return null;
  const close = () => {
    open = null;
    draw();
  };
  return open.kind === "cancel" ? cancelDialog(draw, close) : shortcutsDialog(close);
}

function shortcutsDialog(close) {
  return h(
    "dialog",
    { key: "shortcuts", onclose: close, "aria-labelledby": "dialog-title" },
    h("h2", { id: "dialog-title" }, "Keyboard shortcuts"),
    h("dl", { class: "shortcuts" }, SHORTCUTS.map(([key, text]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, text)])),
    h("form", { method: "dialog", class: "row" }, h("span", { class: "spring" }), h("button", { class: "button", autofocus: true }, "Close")),
  );
}

function cancelDialog(draw, close) {
  const { job, error, busy } = open;
  const submit = async (event) => {
    event.preventDefault();
    const mine = open;
    const field = event.target.elements.namedItem("token");
    if (field) keepToken(field.value);
    mine.busy = true;
    mine.error = "";
    draw();
    const answer = await post(`/api/jobs/${encodeURIComponent(job.id)}/cancel`);
    mine.busy = false;
    if (answer.ok) {
      announce(`${job.name} is asked to end.`);
      if (open === mine) close();
    } else {
      mine.error = answer.error;
      draw();
    }
  };
  return h(
    "dialog",
    { key: "cancel", onclose: close, "aria-labelledby": "dialog-title" },
    h("form", { onsubmit: submit }, [
      h("h2", { id: "dialog-title" }, "Cancel this job?"),
      h("p", {}, h("strong", {}, job.name || job.id), " ends at once for everybody who waits for it. What it has done is thrown away."),
      !hasToken() && !busy && [h("label", { for: "token" }, "Token, as ", h("code", {}, "mr dashboard"), " has printed it"), h("input", { id: "token", name: "token", type: "password", autocomplete: "off", required: true, autofocus: true })],
      error && h("p", { class: "note bad", role: "alert" }, "✕ ", error),
      h("div", { class: "row" }, h("span", { class: "spring" }), h("button", { class: "button", type: "button", onclick: close }, "Keep it"), h("button", { class: "button danger", type: "submit", disabled: busy }, busy ? "Asking …" : "Cancel the job")),
    ]),
  );
}
