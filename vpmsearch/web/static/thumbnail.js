// Small pictures of images of the index.

import * as api from "./api.js";
import { element } from "./dom.js";

// Words in place of a picture. They are seen in its button, so the button's label has them too: who speaks to the
// computer says what is seen.
function inWords(picture) {
  const button = picture.closest("button");
  button?.setAttribute("aria-label", `${button.getAttribute("aria-label")}; no picture`);
  picture.replaceWith(element("span", { class: "quiet" }, "no picture"));
}

// A picture that cannot be loaded is handed to `gone`.
export function thumbnail(id, { gone = inWords } = {}) {
  const picture = element("img", { src: api.thumbnail(id), alt: "", loading: "lazy" });
  picture.addEventListener("error", () => gone(picture));
  return picture;
}
