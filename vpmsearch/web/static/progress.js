// How something that may wait for its turn is getting on, written into a live region (role=status).

// A screen reader hears a change of `said`, and whether it waits: few times a search. How many come before changes up to
// four times a second, so that is for the eye alone.
export function report(place, said, waiting) {
  const text = waiting === undefined ? said : `${said} Waiting for its turn.`;
  if (place.querySelector(":scope > .said")?.textContent !== text) {
    const [spoken, count] = [document.createElement("span"), document.createElement("span")];
    spoken.className = "said";
    spoken.textContent = text;
    count.setAttribute("aria-hidden", "true");
    place.replaceChildren(spoken, count);
  }
  place.lastChild.textContent = waiting === undefined ? "" : ` ${before(waiting)}`;
}

function before(waiting) {
  if (!waiting) return "It comes next.";
  return waiting === 1 ? "One search comes first." : `${waiting} searches come first.`;
}
