// The regions to compare by, and how much the query shows of each.

import { bar, by, element } from "./dom.js";
import { tellingNames } from "./names.js";
import { shade } from "./photo.js";
import { changed, on, state } from "./state.js";

const namedSo = (name) => state.index.names.flatMap((other, region) => (other === name ? [region] : []));

export function showPresets() {
  by("presets").replaceChildren(...["all", ...new Set(state.index.names)].map((name) => element("button",
    { type: "button", "data-preset": name, onclick: () => choose(name === "all" ? null : namedSo(name)) }, name)));
  showChoice();
}

function choose(regions) {
  state.chosen = regions;
  changed("query");
}

function toggle(region, isOn) {
  const all = state.index.names.map((_, other) => other);
  const kept = (state.chosen || all).filter((other) => other !== region);
  const next = isOn ? [...kept, region].sort((a, b) => a - b) : kept;
  choose(next.length === all.length ? null : next);
}

function showChoice() {
  for (const button of by("presets").children) {
    const name = button.dataset.preset;
    const pressed = name === "all" ? !state.chosen : String(state.chosen) === String(namedSo(name));
    button.setAttribute("aria-pressed", String(pressed));
  }
  for (const box of by("regions").querySelectorAll("input")) {
    box.checked = !state.chosen || state.chosen.includes(Number(box.dataset.region));
  }
}

function showRegions() {
  by("regions-box").hidden = !state.photos.length;
  const focused = document.activeElement?.dataset?.region;
  by("regions").replaceChildren(...(state.query || []).map(line));
  showChoice();
  if (focused !== undefined) by("regions").querySelector(`[data-region="${focused}"]`)?.focus();
}

function line(part) {
  const { min_visibility: least } = state.index;
  const highest = Math.max(...state.query.map((other) => other.visibility), least);
  const swatch = element("span", { class: "swatch" });
  swatch.style.background = shade(part.region);
  const photo = state.asked[part.photograph];
  const photograph = photo ? `, photograph ${state.photos.indexOf(photo) + 1}` : ", a confirmed image";
  const from = part.counts && (state.asked.length > 1 || !photo) ? photograph : "";
  const name = tellingNames(state.index.names, state.index.grid)[part.region];
  const seen = part.visibility >= least ? "" : " (not seen)";
  const box = element("input", {
    type: "checkbox", "data-region": part.region, "aria-label": `Compare by region ${part.region}, ${name}${seen}${from}`,
    onchange: (event) => toggle(part.region, event.target.checked),
  });
  return element("li", { class: part.counts ? "" : "faded", title: `visibility ${part.visibility.toFixed(3)}${seen}${from}` },
    box, swatch, element("span", {}, `${part.region} ${name}`), bar(part.visibility / highest, shade(part.region)),
    element("span", { class: "number" }, part.visibility.toFixed(2)));
}

on("hits", showRegions);
on("photos", () => { by("regions-box").hidden = !state.photos.length; });
on("query", showChoice);
