// On a narrow screen the tool (part, regions, filters) is folded, so that the results follow the photographs at once.

import { by } from "./dom.js";

const wide = window.matchMedia("(min-width: 48rem)");

function fit() {
  by("tool").open = wide.matches;
}

wide.addEventListener("change", fit);
fit();
