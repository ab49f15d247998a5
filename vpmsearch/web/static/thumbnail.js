// Small pictures of images of the index.

import * as api from "./api.js";
import { element } from "./dom.js";

const inWords = (picture) => picture.replaceWith(element("span", { class: "quiet" }, "no picture"));

// A picture that cannot be loaded is handed to `gone`. What it stands for is said beside it, so it has no words itself.
export function thumbnail(id, { gone = inWords } = {}) {
  const picture = element("img", { src: api.thumbnail(id), alt: "", loading: "lazy" });
  picture.addEventListener("error", () => gone(picture));
  return picture;
}
