// Which images may be results. The fields of the form hold what is chosen.

import { by, element } from "./dom.js";
import { when } from "./labels.js";
import { changed, state } from "./state.js";

const TEXTS = ["pid", "own", "after", "before", "prefix", "where"];
const BOXES = { itself: ["others", false], fill: ["fill", true], exact: ["exact", true] }; // name -> field, ticked when it is said

export function showFilters() {
  const { camids, captured, attributes } = state.index;
  const { cameras } = fields(true);
  by("cameras").replaceChildren(...camids.map((camid) => element("label", { class: "check" },
    element("input", { type: "checkbox", value: camid, checked: cameras.includes(String(camid)), onchange: () => changed("query") }),
    ` ${camid}`)));
  by("cameras-box").hidden = by("own-box").hidden = !camids.length;
  by("own").replaceChildren(element("option", { value: "" }, "none"), ...camids.map((camid) => element("option", { value: camid }, String(camid))));
  by("captured").textContent = captured ? `The images are from ${captured.map((text) => when(text).slice(0, 16)).join(" to ")}.`
    : "No image of this index has a time.";
  by("attributes").textContent = attributes.length ? `There are ${attributes.join(", ")}.`
    : "No image of this index has an attribute.";
  setFilters(fields());
}

// What is chosen, by name; only what is not as it is at first, unless all is asked for.
export function fields(all = false) {
  const said = { cameras: [...by("cameras").querySelectorAll("input:checked")].map((box) => box.value) };
  for (const name of TEXTS) said[name] = by(name).value;
  for (const [name, [field, ticked]] of Object.entries(BOXES)) said[name] = by(field).checked === ticked ? "1" : "";
  return all ? said : Object.fromEntries(Object.entries(said).filter(([, value]) => value.length));
}

// Choose what `fields` gave, or an address, where each value is in a list.
export function setFilters(said) {
  const one = (value) => String(Array.isArray(value) ? value[0] ?? "" : value ?? "");
  const cameras = [said.cameras ?? []].flat().map(String);
  for (const box of by("cameras").querySelectorAll("input")) box.checked = cameras.includes(box.value);
  for (const name of TEXTS) by(name).value = one(said[name]);
  for (const [name, [field, ticked]] of Object.entries(BOXES)) by(field).checked = (one(said[name]) === "1") === ticked;
  by("filters-set").textContent = count(fields());
}

const list = (text) => text.split(",").map((part) => part.trim()).filter(Boolean);

export function wantedFilters() {
  const said = fields(true);
  by("filters-set").textContent = count(fields());
  return {
    camids: said.cameras, pids: list(said.pid), without: list(said.own), where: said.where.split("\n").map((line) => line.trim()).filter(Boolean),
    after: said.after, before: said.before, prefix: said.prefix,
    others: !said.itself, fill: Boolean(said.fill), exact: Boolean(said.exact),
  };
}

function count(said) {
  const set = Object.keys(said).length;
  return set ? ` (${set} set)` : "";
}

for (const id of [...TEXTS, ...Object.values(BOXES).map(([field]) => field)]) by(id).addEventListener("change", () => changed("query"));
by("clear").addEventListener("click", () => {
  setFilters({});
  changed("query");
});
