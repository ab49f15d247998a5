// The page: what is being searched for, and what happens when something of it changes.

import * as api from "./api.js";
import { draw, editBox, loadImage, shade } from "./photo.js";
import { report } from "./progress.js";
import { bar, card, compare, element } from "./results.js";

const by = (id) => document.getElementById(id);
const PAGE = 24;
const MAX_PHOTOS = 8;

let index = null; // what /api/stats says
let photos = []; // {file or id, name, image, box, seen, looking: the AbortController of the last look at it}
let active = 0;
let chosen = null; // regions to compare by; null: all
let answer = null; // the first page of the ranks
let hits = [];
let running = null; // the AbortController of the search under way

// ---- starting -------------------------------------------------------------------------------------------------------

async function start() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) {
    history.replaceState(null, "", location.pathname); // out of the address bar and the history
    try { await api.login(token); } catch { /* the request below asks for another */ }
  }
  await enter();
}

async function enter() {
  try {
    index = await api.stats();
  } catch (error) {
    const asked = error instanceof api.NeedsToken;
    by("login").hidden = !asked;
    by("main").hidden = asked;
    by("stats").textContent = asked ? "" : error.message;
    return;
  }
  by("login").hidden = true;
  by("main").hidden = false;
  const cameras = index.cameras ? `, ${index.cameras} cameras` : "";
  by("stats").textContent = `${index.images.toLocaleString("en")} images${cameras}, ${index.weights || "unnamed weights"}`;
  by("cameras").replaceChildren(...index.camids.map((camid) => element("label", { class: "check" },
    element("input", { type: "checkbox", value: camid, onchange: search }), ` ${camid}`)));
  by("cameras-box").hidden = !index.camids.length;
  by("captured").textContent = index.captured ? `The images are from ${index.captured.map(day).join(" to ")}.`
    : "No image of this index has a time.";
  by("presets").replaceChildren(...["all", ...new Set(index.names)].map((name) => element("button",
    { type: "button", "data-preset": name, onclick: () => preset(name) }, name)));
}

const day = (text) => text.slice(0, 16).replace("T", " ");

by("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await api.login(by("token").value.trim());
    by("login-error").textContent = "";
    by("token").value = "";
    await enter();
  } catch (error) {
    by("login-error").textContent = error.message;
  }
});

// ---- photographs ----------------------------------------------------------------------------------------------------

async function add(files) {
  const pictures = [...files].filter((file) => file.type.startsWith("image/") || !file.type);
  if (!pictures.length) { fail("That is no picture."); return; }
  for (const file of pictures) {
    if (photos.length >= MAX_PHOTOS) { fail(`A query takes ${MAX_PHOTOS} photographs at most.`); break; }
    const photo = { file, name: file.name || "pasted", box: null, seen: null, image: null };
    try {
      photo.image = await loadImage(URL.createObjectURL(file));
    } catch {
      photo.image = null; // TIFF, say: the server reads more than a browser does
    }
    try {
      await look(photo);
    } catch (error) {
      fail(`${photo.name}: ${said(error)}`);
      continue;
    }
    photos.push(photo);
    active = photos.length - 1;
    fail("");
  }
  showPhotos();
  await search();
}

let looks = 0; // several photographs may be looked at at once, and only one is told of

// What the model sees in the part that is used now. An earlier look, at another part, ends in an AbortError.
async function look(photo) {
  photo.looking?.abort();
  photo.looking = new AbortController();
  const { signal } = photo.looking;
  const tell = ({ waiting }) => report(by("looking"), `Looking at ${photo.name}…`, waiting);
  photo.seen = null;
  looks += 1;
  tell({});
  try {
    if (photo.id && photo.box && !photo.file) photo.file = await api.fileOf(photo.id, signal);
    photo.seen = await api.regions(photo, signal, tell);
  } finally {
    looks -= 1;
    if (!looks) by("looking").replaceChildren();
  }
}

async function searchWith(hit) {
  by("compare").close();
  const photo = { id: hit.image_id, name: hit.path.split("/").pop(), box: null, seen: null, image: null };
  for (const other of photos) other.looking?.abort();
  photos = [photo];
  active = 0;
  try {
    photo.image = await loadImage(api.picture(hit.image_id));
    await look(photo);
    fail("");
  } catch (error) {
    if (error.name === "AbortError") return; // something else is searched for by now
    fail(said(error));
  }
  showPhotos();
  await search();
  by("results-title").scrollIntoView({ block: "nearest" });
}

function remove(photo) {
  photo.looking?.abort();
  photos = photos.filter((other) => other !== photo);
  active = Math.max(0, Math.min(active, photos.length - 1));
  showPhotos();
  search();
}

async function usePart(box) {
  const photo = photos[active];
  photo.box = box;
  try {
    const looked = look(photo);
    drawActive(); // without what was seen in the part before
    await looked;
    fail("");
  } catch (error) {
    if (error.name === "AbortError") return; // another part is used by now
    fail(said(error));
  }
  showPhotos();
  await search();
}

function showPhotos() {
  by("photos").replaceChildren(...photos.map((photo, number) => element("li", {},
    element("button", {
      type: "button", class: "pick", "aria-pressed": String(number === active), "aria-label": `Edit ${photo.name}`,
      onclick: () => { active = number; showPhotos(); },
    }, photo.image ? element("img", { src: photo.image.src, alt: "" }) : photo.name),
    element("button", { type: "button", class: "remove", "aria-label": `Remove ${photo.name}`, onclick: () => remove(photo) },
      "Remove"))));
  by("editor").hidden = !photos[active]?.image;
  by("regions-box").hidden = !photos.length;
  drawActive();
}

function drawActive(box = photos[active]?.box, moving = false) {
  const photo = photos[active];
  if (!photo?.image) return;
  const seen = by("overlay").checked && !moving ? photo.seen : null;
  draw(by("canvas"), photo.image, { box, seen, width: Math.min(300, by("photos").clientWidth || 300), height: 280 });
  const part = box ? [box.left, box.top, box.right, box.bottom].map((value) => `${Math.round(100 * value)} %`).join(", ") : "";
  by("canvas").setAttribute("aria-label", `${photo.name}; used: ${part ? `left, top, right, bottom ${part}` : "the whole photograph"}`);
}

editBox(by("canvas"), () => photos[active]?.box, (box) => drawActive(box, true), usePart);
by("overlay").addEventListener("change", () => drawActive());
by("file").addEventListener("change", (event) => { add(event.target.files); event.target.value = ""; });
const PARTS = { whole: null, upper: { left: 0, top: 0, right: 1, bottom: 0.5 }, lower: { left: 0, top: 0.5, right: 1, bottom: 1 } };
for (const button of document.querySelectorAll("[data-part]")) {
  button.addEventListener("click", () => usePart(PARTS[button.dataset.part]));
}
document.addEventListener("paste", (event) => {
  const files = event.clipboardData?.files;
  if (files?.length && !by("main").hidden) { event.preventDefault(); add(files); }
});
for (const kind of ["dragover", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // else the browser would open the file
    by("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length && !by("main").hidden) add(event.dataTransfer.files);
  });
}
document.addEventListener("dragleave", () => by("drop").classList.remove("over"));

// ---- regions and filters --------------------------------------------------------------------------------------------

function preset(name) {
  chosen = name === "all" ? null : index.names.flatMap((other, region) => (other === name ? [region] : []));
  search();
}

function toggle(region, on) {
  const all = index.names.map((_, other) => other);
  const kept = (chosen || all).filter((other) => other !== region);
  const next = on ? [...kept, region].sort((a, b) => a - b) : kept;
  chosen = next.length === all.length ? null : next;
  search();
}

function showRegions() {
  const highest = Math.max(...answer.query.map((part) => part.visibility), index.min_visibility);
  const several = photos.length > 1;
  const focused = document.activeElement?.dataset?.region;
  by("regions").replaceChildren(...answer.query.map((part) => {
    const on = !chosen || chosen.includes(part.region);
    const swatch = element("span", { class: "swatch" });
    swatch.style.background = shade(part.region);
    const from = several && part.counts ? `, photograph ${numberOf(part.photograph)}` : "";
    const seen = part.visibility >= index.min_visibility ? "" : " (not seen)";
    const box = element("input", {
      type: "checkbox", "data-region": part.region, "aria-label": `Compare by region ${part.region}, ${part.name}${seen}${from}`,
      onchange: (event) => toggle(part.region, event.target.checked),
    });
    box.checked = on;
    return element("li", { class: part.counts ? "" : "faded", title: `visibility ${part.visibility.toFixed(3)}${seen}${from}` },
      box, swatch, element("span", {}, `${part.region} ${part.name}`), bar(part.visibility / highest, shade(part.region)),
      element("span", { class: "number" }, part.visibility.toFixed(2)));
  }));
  if (focused !== undefined) by("regions").querySelector(`[data-region="${focused}"]`)?.focus();
  for (const button of by("presets").children) {
    const name = button.dataset.preset;
    const own = index.names.flatMap((other, region) => (other === name ? [region] : []));
    button.setAttribute("aria-pressed", String(name === "all" ? !chosen : String(chosen) === String(own)));
  }
}

for (const id of ["after", "before", "prefix", "exact"]) by(id).addEventListener("change", () => search());
by("clear").addEventListener("click", () => {
  for (const box of by("cameras").querySelectorAll("input")) box.checked = false;
  by("after").value = by("before").value = by("prefix").value = "";
  by("exact").checked = false;
  search();
});

// ---- searching ------------------------------------------------------------------------------------------------------

// The server counts uploads first, then images of the index.
const isUpload = (photo) => !photo.id || photo.box;
const asCounted = () => [...photos.filter(isUpload), ...photos.filter((photo) => !isUpload(photo))];
const numberOf = (counted) => photos.indexOf(asCounted()[counted]) + 1;

async function search(offset = 0) {
  offset = typeof offset === "number" ? offset : 0; // an event, when it is a listener
  running?.abort();
  if (!photos.length) { answer = null; hits = []; show("Choose a photograph to search with."); return; }
  if (chosen && !chosen.length) { answer = answer && { ...answer, matches: [] }; hits = []; showRegions(); show("Choose at least one region."); return; }
  running = new AbortController();
  by("results").classList.add("busy");
  tell({});
  const wanted = {
    regions: chosen, offset, limit: PAGE, exact: by("exact").checked, after: by("after").value, before: by("before").value,
    prefix: by("prefix").value, camids: [...by("cameras").querySelectorAll("input:checked")].map((box) => box.value),
  };
  try {
    answer = await api.search(photos, wanted, running.signal, tell);
  } catch (error) {
    if (error.name === "AbortError") return;
    hits = [];
    answer = null;
    show(said(error));
    by("status").classList.add("error");
    return;
  }
  hits = offset ? [...hits, ...answer.matches] : answer.matches;
  showRegions();
  const compared = `${answer.candidates.toLocaleString("en")} compared in ${answer.elapsed_ms.toFixed(0)} ms`;
  const [verdict, meaning] = VERDICTS[answer.verdict] || ["", ""];
  show(hits.length ? `${meaning}${hits.length}${answer.more ? " nearest" : ""} images, ${compared}.`
    : "No result: no image that passes the filters shares a region with the query.", hits.length ? verdict : "");
}

function tell({ waiting, doing }) {
  const what = { seeing: " Looking at the query.", searching: " Comparing with the index." }[doing] || "";
  report(by("status"), `Searching…${what}`, waiting);
}

function show(text, verdict = "") {
  by("status").replaceChildren(...(verdict ? [element("strong", { class: "verdict" }, verdict), " "] : []), text);
  by("legend").hidden = !hits.length;
  by("status").classList.remove("error");
  by("results").classList.remove("busy");
  const known = by("results").children;
  // Paging keeps the cards that are there, so that focus and scrolling stay.
  const keep = [...known].every((made, i) => made.dataset.id === String(hits[i]?.image_id)) && hits.length > known.length ? known.length : 0;
  const made = hits.slice(keep).map((hit) => card(hit, index.names, { onopen: open, onsearch: searchWith }));
  if (keep) by("results").append(...made); else by("results").replaceChildren(...made);
  if (keep) made[0]?.querySelector("button").focus();
  by("more").hidden = !answer?.more;
}

const VERDICTS = {
  match: ["Match", "Few strangers come as near as the first. "],
  unsure: ["Unsure", "Now and then a stranger comes as near as the first. "],
  "no match": ["No match", "Strangers come as near as the first. "],
};
let shown = null;
function open(hit) {
  shown = hit;
  const photoOf = (region) => asCounted()[answer.query[region].photograph];
  compare(hit, photoOf, photos[active]);
}

by("more").addEventListener("click", () => search(hits.length));
by("compare-close").addEventListener("click", () => by("compare").close());
by("compare-search").addEventListener("click", () => searchWith(shown));

const said = (error) => {
  if (error instanceof api.NeedsToken) enter();
  return error.message;
};

function fail(text) {
  by("query-error").textContent = text;
}

start();
