// The first screen: what the page is for, a drawn person to try it with, and images of the index to begin from.

import { by, element } from "./dom.js";
import { add, searchWith } from "./photographs.js";
import { on, state } from "./state.js";
import { thumbnail } from "./thumbnail.js";

export function showStart() {
  const { examples } = state.index;
  by("examples-box").hidden = !examples.length;
  by("examples").replaceChildren(...examples.map((id) => {
    const picture = thumbnail(id, { gone: () => picture.closest("li").remove() });
    const begin = () => searchWith({ image_id: id, path: `image ${id}` });
    return element("li", {}, element("button", { type: "button", class: "chip", "aria-label": `Search with image ${id}`, onclick: begin }, picture));
  }));
  show();
}

function show() {
  by("start").hidden = state.photos.length > 0;
  by("results-title").hidden = !by("start").hidden;
}

by("sample").addEventListener("click", async () => {
  const response = await fetch("static/sample.png");
  add([new File([await response.blob()], "drawn person, upper half.png", { type: "image/png" })]);
});
on("photos", show);
