// People in a scene as boxes to click: those of the index in a hit's scene, and those found in a photograph of the query.

import * as api from "./api.js";
import { by, element } from "./dom.js";
import { fileName, numberOf } from "./labels.js";
import { searchWith, usePart } from "./photographs.js";
import { on, state } from "./state.js";

let asking = null; // the AbortController of the people that are looked for

// Lay boxes over a picture. A box is {box: [left, top, width, height], label, pick}, in pixels of a picture of this size.
// One without a label is no button: it marks the place that a zoom begins with.
function lay(frame, { width, height }, boxes) {
  for (const old of frame.querySelectorAll(".person, .here")) old.remove();
  for (const { box, label, pick } of boxes) {
    const button = label
      ? element("button", { type: "button", class: "person", "aria-label": label, title: label, onclick: pick })
      : element("span", { class: "here" });
    const share = [box[0] / width, box[1] / height, box[2] / width, box[3] / height].map((value) => `${100 * value}%`);
    [button.style.left, button.style.top, button.style.width, button.style.height] = share;
    frame.append(button);
  }
}

// A picture is shown as wide as there is room; or twice so, or as large as it is, whichever is larger.
function zoom(button, frame, large) {
  const picture = frame.querySelector("img");
  const width = Math.max(picture.naturalWidth, 2 * picture.clientWidth);
  button.setAttribute("aria-pressed", String(large));
  frame.classList.toggle("large", large);
  picture.style.width = large ? `${width}px` : "";
  // What is zoomed begins at a person and not at a corner of the scene.
  const first = frame.querySelector(".here") || frame.querySelector(".person");
  if (large) first?.scrollIntoView({ block: "center", inline: "center" });
}

function zoomable(button, frame) {
  button.addEventListener("click", () => zoom(button, frame, button.getAttribute("aria-pressed") !== "true"));
}

// The picture that a hit was cut from, with everybody else of the index who is in it.
export async function showScene(hit, signal) {
  const frame = by("scene-frame");
  by("compare-scene").hidden = !hit.box;
  zoom(by("scene-zoom"), frame, false);
  lay(frame, {}, []);
  by("scene-said").textContent = "In its scene";
  if (!hit.box) { by("scene").removeAttribute("src"); return; }
  by("scene").src = api.scene(hit.image_id);
  try {
    const known = await api.sceneOf(hit.image_id, signal);
    const others = known.people.filter((person) => person.image_id !== hit.image_id);
    const path = fileName(hit.path);
    lay(frame, known, [{ box: hit.box }, ...others.map((person, i) => ({
      box: person.box,
      label: `Search with another person of ${path}, ${i + 1} of ${others.length}`,
      pick: () => { by("compare").close(); searchWith({ image_id: person.image_id, path: hit.path }); },
    }))]);
    if (others.length) by("scene-said").textContent = `In its scene, with ${numberOf(others.length, "other image")} of the index: choose one to search with it`;
  } catch { /* the scene itself says what is wrong, or the dialog was closed */ }
}

// Look for the people in the photograph that is edited; one of them becomes the part that is used.
async function findPeople() {
  const photo = state.photos[state.active];
  if (!photo?.image) return;
  asking?.abort();
  const mine = asking = new AbortController();
  const frame = by("people-frame");
  zoom(by("people-zoom"), frame, false);
  lay(frame, {}, []);
  by("people-picture").src = photo.image.src;
  by("people-said").textContent = "Looking for people…";
  if (!by("people-dialog").open) by("people-dialog").showModal();
  try {
    photo.file ||= await api.fileOf(photo.id, mine.signal);
    const found = await api.people(photo.file, mine.signal);
    lay(frame, found, found.people.map((person, i) => ({
      box: person.box,
      label: `Person ${i + 1} of ${found.people.length}`,
      pick: () => {
        by("people-dialog").close();
        const [left, top, width, height] = person.box;
        state.active = state.photos.indexOf(photo);
        usePart({ left: left / found.width, top: top / found.height, right: (left + width) / found.width, bottom: (top + height) / found.height });
      },
    })));
    by("people-said").textContent = found.people.length
      ? `${found.people.length === 1 ? "1 person" : `${found.people.length} people`} found: choose one to search for. Found by ${found.detector}.`
      : `Nobody was found by ${found.detector}. Draw a rectangle around the person instead.`;
    frame.querySelector(".person")?.focus();
  } catch (error) {
    if (error.name !== "AbortError") by("people-said").textContent = error.message;
  }
}

zoomable(by("scene-zoom"), by("scene-frame"));
zoomable(by("people-zoom"), by("people-frame"));
by("people").addEventListener("click", findPeople);
by("people-close").addEventListener("click", () => by("people-dialog").close());
by("people-dialog").addEventListener("close", () => asking?.abort());
on("find people", findPeople);
