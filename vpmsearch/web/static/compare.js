// The comparison of a hit with the query.

import * as api from "./api.js";
import { bar, by, element, percent } from "./dom.js";
import { fileName, labels } from "./labels.js";
import { cutOut, draw, loadImage, shade } from "./photo.js";
import { searchWith } from "./photographs.js";
import { report } from "./progress.js";
import { state } from "./state.js";

let shown = null; // the hit that the dialog shows, or showed last
let comparing = null; // the AbortController of the hit that the dialog shows, or showed last

// Fill the dialog: both images under their regions, and each shared region cut out of both. Another one, or closing the
// dialog, ends it.
export async function open(hit) {
  shown = hit;
  comparing?.abort();
  const mine = new AbortController();
  const { signal } = mine;
  comparing = mine;
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
    const active = state.photos[state.active];
    if (active?.image) draw(by("compare-query"), active.image, { box: active.box, seen: active.seen }); // not of a TIFF
    draw(by("compare-hit"), image, { seen });
    by("compare-rows").replaceChildren(...hit.regions.map((part) => row(part, state.asked[state.query[part.region].photograph], image, seen)));
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

by("compare-close").addEventListener("click", () => by("compare").close());
by("compare-search").addEventListener("click", () => {
  by("compare").close();
  searchWith(shown);
});
