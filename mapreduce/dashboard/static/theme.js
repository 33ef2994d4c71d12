// Light, dark, or as the system has it.

const KEY = "mr-theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };

export function theme() {
  return localStorage.getItem(KEY) || "auto";
}

export function applyTheme() {
  const chosen = theme();
  if (chosen === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}

export function nextTheme() {
  localStorage.setItem(KEY, NEXT[theme()] || "auto");
  applyTheme();
}
