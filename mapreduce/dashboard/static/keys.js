// Shortcuts: single keys, where nobody is typing.

export const SHORTCUTS = [
  ["j", "next job"],
  ["k", "previous job"],
  ["g", "all jobs"],
  ["w", "workers"],
  ["t", "to the timeline; there ← → ↑ ↓ go from attempt to attempt, Home and End to the first and last"],
  ["+", "stretch the timeline"],
  ["-", "shrink the timeline"],
  ["e", "to the errors"],
  ["l", "to the log"],
  ["c", "cancel the job"],
  ["d", "light, dark or as the system has it"],
  ["?", "this list"],
];

/** Call `actions[key]` when the key is pressed. */
export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
    const action = actions[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  });
}
