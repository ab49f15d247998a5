// Ranked thumbnails with their distances and bars, and the comparison of one of them with the query.

import * as api from "./api.js";
import { cutOut, draw, loadImage, shade } from "./photo.js";
import { report } from "./progress.js";

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function bar(fraction, color = "") {
  const inner = element("span");
  inner.style.width = `${(100 * Math.min(1, Math.max(0, fraction))).toFixed(1)}%`;
  if (color) inner.style.background = color;
  return element("div", { class: "bar" }, inner);
}

const percent = (value) => `${(100 * value).toFixed(0)} %`;
const fileName = (path) => path.split("/").pop();
const when = (text) => text.replace("T", " ").replace(/(\.\d+)?(Z|\+00:00)$/, "");

function labels(hit) {
  const known = [];
  if (hit.pid !== null) known.push(`pid ${hit.pid}`);
  if (hit.camid !== null) known.push(`camera ${hit.camid}`);
  if (hit.captured_at !== null) known.push(when(hit.captured_at));
  return known;
}

// One bar a region, as high as its share of the weights; an empty one had no part.
function shares(hit, names) {
  const parts = new Map(hit.regions.map((part) => [part.region, part]));
  const highest = Math.max(...hit.regions.map((part) => part.share));
  const told = hit.regions.map((part) => `region ${part.region} (${part.name}) ${percent(part.share)}`).join(", ");
  const list = element("ul", { class: "shares", "aria-hidden": "true" });
  names.forEach((name, region) => {
    const part = parts.get(region);
    const inner = element("span");
    inner.style.height = part ? `${(100 * part.share / highest).toFixed(1)}%` : "0";
    const title = `region ${region}, ${name}: ${part ? `${percent(part.share)}, distance ${part.distance.toFixed(3)}` : "no part"}`;
    list.append(element("li", { title }, inner));
  });
  return { list, told };
}

export function card(hit, names, { onopen, onsearch }) {
  const { list, told } = shares(hit, names);
  const image = element("img", { src: api.thumbnail(hit.image_id), alt: "", loading: "lazy" });
  image.addEventListener("error", () => image.replaceWith(element("span", { class: "quiet" }, "no picture")));
  const name = fileName(hit.path);
  const label = `Rank ${hit.rank}, ${name}, distance ${hit.distance.toFixed(3)}; ${told}. Compare`;
  return element("li", { class: "card", "data-id": hit.image_id },
    element("div", { class: "head" },
      element("strong", {}, String(hit.rank)),
      element("span", { title: "distance (Eq. 4)" }, hit.distance.toFixed(3))),
    element("button", { type: "button", class: "open", "aria-label": label, onclick: () => onopen(hit) }, image),
    list,
    element("div", { class: "small quiet file", title: hit.path }, element("bdi", {}, name)),
    element("div", { class: "small labels" }, ...labels(hit).map((text) => element("span", {}, text))),
    element("button", { type: "button", class: "again", "aria-label": `Search with this: ${name}`, onclick: () => onsearch(hit) },
      "Search with this"));
}

let comparing = null; // the AbortController of the hit that the dialog shows, or showed last

// Fill the dialog: both images under their regions, and each shared region cut out of both. Another one, or closing the
// dialog, ends it.
export async function compare(hit, photoOf, active) {
  comparing?.abort();
  const mine = new AbortController();
  const { signal } = mine;
  comparing = mine;
  const by = (id) => document.getElementById(id);
  by("compare-title").textContent = `Rank ${hit.rank}`;
  const rate = hit.false_match_rate;
  const strangers = rate == null ? "" : `; of people who are not in the index, ${percent(rate)} find an image as near`;
  by("compare-summary").textContent = `Distance ${hit.distance.toFixed(4)}${strangers}`;
  by("compare-caption").textContent = [fileName(hit.path), ...labels(hit)].join(" · ");
  for (const id of ["compare-rows", "compare-looking"]) by(id).replaceChildren();
  for (const id of ["compare-query", "compare-hit"]) { by(id).width = by(id).height = 1; }
  const dialog = by("compare");
  if (!dialog.open) dialog.showModal();
  // The event comes a little after the closing: by then another hit may be shown.
  dialog.addEventListener("close", () => { if (!dialog.open) mine.abort(); }, { signal });
  const tell = ({ waiting }) => report(by("compare-looking"), "Looking at the match…", waiting);
  tell({});
  try {
    const looked = api.regions({ id: hit.image_id, box: null }, signal, tell).finally(() => {
      if (!signal.aborted) by("compare-looking").replaceChildren();
    });
    const [image, seen] = await Promise.all([loadImage(api.picture(hit.image_id)), looked]);
    signal.throwIfAborted();
    if (active.image) draw(by("compare-query"), active.image, { box: active.box, seen: active.seen }); // not of a TIFF
    draw(by("compare-hit"), image, { seen });
    by("compare-rows").replaceChildren(...hit.regions.map((part) => row(part, photoOf(part.region), image, seen)));
  } catch (error) {
    if (signal.aborted) return;
    by("compare-summary").textContent = `${by("compare-summary").textContent}. ${error.message}`;
    by("compare-rows").replaceChildren(...hit.regions.map((part) => row(part, null, null, null)));
  }
}

function row(part, photo, image, seen) {
  const cut = (from, box, what) => (from && what && cutOut(from, box, what, part.region)) || element("span", { class: "faded" }, "not shown");
  const swatch = element("span", { class: "swatch" });
  swatch.style.background = shade(part.region);
  return element("tr", {},
    element("th", { scope: "row" }, swatch, ` ${part.region} ${part.name}`),
    element("td", {}, cut(photo?.image, photo?.box, photo?.seen)),
    element("td", {}, cut(image, null, seen)),
    element("td", { class: "number" }, part.distance.toFixed(3)),
    element("td", {}, bar(part.share), percent(part.share)));
}
