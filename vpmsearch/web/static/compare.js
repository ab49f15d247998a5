// The comparison of a hit with the query.

import * as api from "./api.js";
import { bar, by, element, percent } from "./dom.js";
import { fileName, folder, labels } from "./labels.js";
import { tellingNames } from "./names.js";
import { cutOut, draw, loadImage, shade } from "./photo.js";
import { searchWith } from "./photographs.js";
import { report } from "./progress.js";
import { showScene } from "./scene.js";
import { state } from "./state.js";
import { decide } from "./trail.js";

// Pixels of a picture at most: of its place, or its numbers would be made small with it.
const size = () => ({ width: Math.min(320, by("compare-hit").parentElement.clientWidth - 2), height: 304 });

let shown = null; // the hit that the dialog shows, or showed last
let ranks = []; // those that previous and next go through: as they were when the dialog was opened
let comparing = null; // the AbortController of the hit that the dialog shows, or showed last

// Fill the dialog: both images under their regions, and each shared region cut out of both. Another one, or closing the
// dialog, ends it.
export async function open(hit) {
  shown = hit;
  if (!by("compare").open) ranks = state.hits;
  const place = ranks.indexOf(hit);
  by("compare-previous").disabled = place < 1;
  by("compare-next").disabled = place === ranks.length - 1;
  comparing?.abort();
  const mine = new AbortController();
  const { signal } = mine;
  comparing = mine;
  by("compare-title").textContent = `Rank ${hit.rank}`;
  by("compare-summary").textContent = [`Distance ${hit.distance.toFixed(4)}`, ...hit.notes].join("; ");
  by("compare-caption").textContent = [fileName(hit.path), folder(hit.path), ...labels(hit)].filter(Boolean).join(" · ");
  showScene(hit, signal);
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
    if (active?.image) draw(by("compare-query"), active.image, { box: active.box, seen: active.seen, ...size() }); // not of a TIFF
    draw(by("compare-hit"), image, { seen, ...size() });
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
    element("th", { scope: "row" }, swatch, ` ${part.region} ${tellingNames(state.index.names, state.index.grid)[part.region]}`),
    element("td", {}, cut(photo?.image, photo?.box, photo?.seen)),
    element("td", {}, cut(image, null, seen)),
    element("td", { class: "number" }, part.distance.toFixed(3)),
    element("td", {}, bar(part.share), percent(part.share)));
}

function step(by_) {
  const next = ranks[ranks.indexOf(shown) + by_];
  if (next) open(next);
}

// The next hit follows what was decided on, so that many can be gone through.
function decideHere(kind) {
  const next = ranks[ranks.indexOf(shown) + 1];
  decide(kind, shown);
  if (next) open(next);
  else by("compare").close();
}

by("compare-previous").addEventListener("click", () => step(-1));
by("compare-next").addEventListener("click", () => step(1));
by("compare-confirm").addEventListener("click", () => decideHere("confirmed"));
by("compare-refuse").addEventListener("click", () => decideHere("refused"));
by("compare").addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  if (!steps[event.key] || event.target.closest(".scroll")) return; // the table scrolls by these keys
  event.preventDefault();
  step(steps[event.key]);
});
by("compare-close").addEventListener("click", () => by("compare").close());
by("compare-search").addEventListener("click", () => {
  by("compare").close();
  searchWith(shown);
});
