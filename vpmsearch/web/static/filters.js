// Which images may be results. The fields of the form hold what is chosen.

import { by, element } from "./dom.js";
import { changed, state } from "./state.js";

const FIELDS = ["after", "before", "prefix", "where", "others", "fill", "exact"];
const day = (text) => text.slice(0, 16).replace("T", " ");

export function showFilters() {
  const { camids, captured, attributes } = state.index;
  const kept = new Set(wantedFilters().camids);
  by("cameras").replaceChildren(...camids.map((camid) => element("label", { class: "check" },
    element("input", { type: "checkbox", value: camid, checked: kept.has(String(camid)), onchange: () => changed("query") }),
    ` ${camid}`)));
  by("cameras-box").hidden = !camids.length;
  by("captured").textContent = captured ? `The images are from ${captured.map(day).join(" to ")}.`
    : "No image of this index has a time.";
  by("attributes").textContent = attributes.length ? `There are ${attributes.join(", ")}.`
    : "No image of this index has an attribute.";
}

export const wantedFilters = () => ({
  exact: by("exact").checked, others: by("others").checked, fill: by("fill").checked, after: by("after").value, before: by("before").value, where: by("where").value.split("\n").map((line) => line.trim()).filter(Boolean), prefix: by("prefix").value,
  camids: [...by("cameras").querySelectorAll("input:checked")].map((box) => box.value),
});

for (const id of FIELDS) by(id).addEventListener("change", () => changed("query"));
by("clear").addEventListener("click", () => {
  for (const box of by("cameras").querySelectorAll("input")) box.checked = false;
  by("after").value = by("before").value = by("prefix").value = by("where").value = "";
  by("exact").checked = by("fill").checked = false;
  by("others").checked = true;
  changed("query");
});
