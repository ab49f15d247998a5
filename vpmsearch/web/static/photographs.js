// The photographs of the query: choosing, looking at, cropping and removing them.
//
// A photograph is {file or id, key, name, image, url, box, seen, looking, ready}: key is that of keep.js; url is of an
// uploaded file, to be released; seen what the model sees in the part `box`; looking the AbortController of the last look; ready whether the first look
// has ended, as only then it is searched with.

import * as api from "./api.js";
import { by, element } from "./dom.js";
import { fileName } from "./labels.js";
import { editBox } from "./crop.js";
import { draw, loadImage } from "./photo.js";
import { report } from "./progress.js";
import { changed, on, state } from "./state.js";
import { clearTrail } from "./trail.js";

const MAX_PHOTOS = 8;
const PARTS = { whole: null, upper: { left: 0, top: 0, right: 1, bottom: 0.5 }, lower: { left: 0, top: 0.5, right: 1, bottom: 1 } };

const made = (values) => ({ name: "", image: null, url: null, box: null, seen: null, looking: null, ready: false, ...values });

export async function add(files) {
  const pictures = [...files].filter((file) => file.type.startsWith("image/") || !file.type);
  if (!pictures.length) { fail("That is no picture."); return; }
  // Their places are taken at once: others may be chosen before these have been looked at.
  const taken = pictures.slice(0, MAX_PHOTOS - state.photos.length).map((file) => made({ file, name: file.name || "pasted" }));
  state.photos.push(...taken);
  fail("");
  const problems = taken.length < pictures.length ? [`A query takes ${MAX_PHOTOS} photographs at most.`] : [];
  changed("photos");
  for (const photo of taken) {
    try {
      await begin(photo);
    } catch (error) {
      if (error.name === "AbortError") continue; // it was removed, or another part of it is looked at by now
      drop(photo);
      problems.push(`${photo.name}: ${said(error)}`);
    }
  }
  if (problems.length) fail([by("query-error").textContent, ...problems].join(" ").trim());
  if (!taken.length) return;
  changed("photos");
  changed("query");
}

// The first look at a photograph that was chosen.
async function begin(photo) {
  photo.url = URL.createObjectURL(photo.file);
  try {
    photo.image = await loadImage(photo.url);
  } catch {
    release(photo); // TIFF, say: the server reads more than a browser does
  }
  if (!state.photos.includes(photo)) throw new DOMException("It was removed.", "AbortError");
  await look(photo);
  photo.ready = true;
  state.active = state.photos.indexOf(photo);
  changed("photos");
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

// Take a photograph out of the query, and give back what it holds.
function drop(photo) {
  photo.looking?.abort();
  release(photo);
  const active = state.photos[state.active];
  state.photos = state.photos.filter((other) => other !== photo);
  state.active = Math.max(0, active === photo ? Math.min(state.active, state.photos.length - 1) : state.photos.indexOf(active));
}

function release(photo) {
  if (photo.url) URL.revokeObjectURL(photo.url);
  photo.url = null;
}

// Instead of all photographs take these, of {file, key} or {id}, name and box, and look at them. A query may follow.
export async function replacePhotos(wanted) {
  for (const other of state.photos) drop(other);
  const photos = wanted.slice(0, MAX_PHOTOS).map(made);
  Object.assign(state, { photos, active: 0 });
  fail("");
  changed("photos");
  await Promise.all(photos.map(async (photo) => {
    try {
      photo.url = photo.id ? null : URL.createObjectURL(photo.file);
      photo.image = await loadImage(photo.id ? api.picture(photo.id) : photo.url);
    } catch {
      release(photo); // a TIFF, or an image whose file is gone: it may be searched with all the same
    }
    try {
      if (state.photos.includes(photo)) await look(photo);
    } catch (error) {
      if (error.name === "AbortError") return;
      fail(`${photo.name}: ${said(error)}`);
    }
    photo.ready = true;
  }));
  changed("photos");
}

export async function searchWith(hit) {
  clearTrail();
  const photo = made({ id: hit.image_id, name: fileName(hit.path) });
  for (const other of state.photos) drop(other);
  Object.assign(state, { photos: [photo], active: 0 });
  changed("photos");
  try {
    photo.image = await loadImage(api.picture(hit.image_id));
    if (!state.photos.includes(photo)) return;
    await look(photo);
    fail("");
  } catch (error) {
    if (error.name === "AbortError") return; // something else is searched for by now
    fail(said(error));
  }
  photo.ready = true; // the index knows its regions, whatever its file has become
  changed("photos");
  changed("query");
  by("results-title").scrollIntoView({ block: "nearest" });
}

function remove(photo) {
  const number = state.photos.indexOf(photo);
  drop(photo);
  if (!state.photos.length) clearTrail();
  changed("photos");
  const next = by("photos").children[Math.min(number, state.photos.length - 1)];
  (next?.querySelector(".remove") || by("file")).focus(); // the button that had it is gone
  changed("query");
}

export async function usePart(box) {
  const photo = state.photos[state.active];
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
  photo.ready = true;
  changed("photos");
  changed("query");
}

const items = new WeakMap(); // photo -> its <li>: kept, so that the focus stays where it is

function item(photo) {
  const { name } = photo;
  if (!items.has(photo)) {
    const pick = () => { state.active = state.photos.indexOf(photo); changed("photos"); };
    items.set(photo, element("li", {},
      element("button", { type: "button", class: "pick", "aria-label": `Edit ${name}`, onclick: pick }, name),
      element("button", { type: "button", class: "remove", "aria-label": `Remove ${name}`, onclick: () => remove(photo) }, "Remove")));
  }
  const li = items.get(photo);
  const [pick] = li.children;
  if (photo.image && !pick.querySelector("img")) pick.replaceChildren(element("img", { src: photo.image.src, alt: "" }));
  pick.setAttribute("aria-pressed", String(photo === state.photos[state.active]));
  li.setAttribute("aria-busy", String(!photo.ready));
  return li;
}

function showPhotos() {
  const wanted = state.photos.map(item);
  const list = by("photos");
  for (const li of [...list.children]) if (!wanted.includes(li)) li.remove();
  wanted.forEach((li, i) => { if (list.children[i] !== li) list.insertBefore(li, list.children[i] || null); });
  by("editor").hidden = !state.photos[state.active]?.image;
  drawActive();
}

function drawActive(box = state.photos[state.active]?.box, moving = false) {
  const photo = state.photos[state.active];
  if (!photo?.image) return;
  const seen = by("overlay").checked && !moving ? photo.seen : null;
  draw(by("canvas"), photo.image, { box, seen, width: Math.min(300, by("photos").clientWidth || 300), height: 280 });
  const part = box ? [box.left, box.top, box.right, box.bottom].map((value) => `${Math.round(100 * value)}%`).join(", ") : "";
  by("canvas").setAttribute("aria-label", `${photo.name}; used: ${part ? `left, top, right, bottom ${part}` : "the whole photograph"}`);
}

function said(error) {
  if (error instanceof api.NeedsToken) changed("login");
  return error.message;
}

function fail(text) {
  by("query-error").textContent = text;
}

const isOpen = () => !by("main").hidden && state.index !== null;

on("photos", showPhotos);
const byFinger = () => by("crop").getAttribute("aria-pressed") === "true";

// A finger draws one rectangle, then it scrolls again.
function setCrop(is) {
  by("crop").setAttribute("aria-pressed", String(is));
  by("canvas").classList.toggle("cropping", is);
}

editBox(by("canvas"), () => state.photos[state.active]?.box, (box) => drawActive(box, true), (box) => { setCrop(false); usePart(box); }, byFinger);
by("crop").addEventListener("click", () => setCrop(!byFinger()));
by("overlay").addEventListener("change", () => drawActive());
by("file").addEventListener("change", (event) => { add([...event.target.files]); event.target.value = ""; });
for (const button of document.querySelectorAll("[data-part]")) {
  button.addEventListener("click", () => usePart(PARTS[button.dataset.part]));
}
document.addEventListener("paste", (event) => {
  const files = event.clipboardData?.files;
  if (files?.length && isOpen()) { event.preventDefault(); add(files); }
});
for (const kind of ["dragover", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // else the browser would open the file
    by("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length && isOpen()) add(event.dataTransfer.files);
  });
}
document.addEventListener("dragleave", () => by("drop").classList.remove("over"));
