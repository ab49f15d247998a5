// Photographs on a canvas: the part that is used, and the regions that the model sees in it.

// Okabe and Ito, as in vpmsearch.drawing: people with any kind of colour vision can tell them apart.
const PALETTE = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442"];

export const shade = (region) => PALETTE[region % PALETTE.length];

export const WHOLE = { left: 0, top: 0, right: 1, bottom: 1 };

export function loadImage(address) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("The browser cannot show this image."));
    image.src = address;
  });
}

// Draw the image, dim what is not used, and lay the regions over what is.
export function draw(canvas, image, { box = null, seen = null, width = 320, height = 360 } = {}) {
  const fine = Math.min(2, window.devicePixelRatio || 1); // or all is blurred on a phone
  const scale = Math.min(width / image.naturalWidth, height / image.naturalHeight);
  canvas.width = Math.max(1, Math.round(image.naturalWidth * scale * fine));
  canvas.height = Math.max(1, Math.round(image.naturalHeight * scale * fine));
  canvas.style.width = `${canvas.width / fine}px`;
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  const part = box || WHOLE;
  const [x, y] = [part.left * canvas.width, part.top * canvas.height];
  const [w, h] = [(part.right - part.left) * canvas.width, (part.bottom - part.top) * canvas.height];
  if (seen) paint(pen, seen.labels, x, y, w, h, fine);
  if (box) {
    pen.fillStyle = "rgb(0 0 0 / 60%)";
    pen.fillRect(0, 0, canvas.width, y);
    pen.fillRect(0, y + h, canvas.width, canvas.height);
    pen.fillRect(0, y, x, h);
    pen.fillRect(x + w, y, canvas.width, h);
    pen.lineWidth = 2 * fine;
    pen.strokeStyle = "#fff";
    pen.strokeRect(x, y, w, h);
    pen.setLineDash([5 * fine, 4 * fine]);
    pen.strokeStyle = "#000";
    pen.strokeRect(x, y, w, h);
    pen.setLineDash([]);
    pen.fillStyle = "#fff";
    const side = 9 * fine; // handles: a corner can be taken hold of
    for (const cornerX of [x, x + w]) {
      for (const cornerY of [y, y + h]) {
        pen.fillRect(cornerX - side / 2, cornerY - side / 2, side, side);
        pen.strokeRect(cornerX - side / 2, cornerY - side / 2, side, side);
      }
    }
  }
}

function paint(pen, labels, x, y, w, h, fine) {
  const [cellW, cellH] = [w / labels[0].length, h / labels.length];
  const cells = document.createElement("canvas"); // a pixel a label, then enlarged: no seams between rectangles
  cells.width = labels[0].length;
  cells.height = labels.length;
  const dot = cells.getContext("2d");
  labels.forEach((row, i) => row.forEach((region, j) => {
    if (region < 0) return; // an occluder: no region of the person
    dot.fillStyle = shade(region);
    dot.fillRect(j, i, 1, 1);
  }));
  pen.globalAlpha = 0.42;
  pen.imageSmoothingEnabled = false;
  pen.drawImage(cells, x, y, w, h);
  pen.imageSmoothingEnabled = true;
  pen.globalAlpha = 1;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (const [region, place] of middles(labels)) {
    const tall = (place.bottom - place.top) * h;
    if (tall < 11 * fine) continue; // a number that cannot be read says nothing
    pen.font = `bold ${Math.round(Math.min(16 * fine, tall))}px system-ui, sans-serif`;
    const at = [x + (place.column + 0.5) * cellW, y + (place.row + 0.5) * cellH];
    pen.lineWidth = 4 * fine;
    pen.strokeStyle = "#fff";
    pen.strokeText(region, ...at);
    pen.fillStyle = "#111";
    pen.fillText(region, ...at);
  }
}

// For each region its pixel nearest to its middle, and the rectangle around all of its pixels.
export function middles(labels) {
  const found = new Map();
  labels.forEach((row, i) => row.forEach((region, j) => {
    if (region < 0) return;
    if (!found.has(region)) found.set(region, []);
    found.get(region).push([i, j]);
  }));
  const places = new Map();
  for (const [region, cells] of [...found].sort((a, b) => a[0] - b[0])) {
    const mean = [0, 1].map((axis) => cells.reduce((sum, cell) => sum + cell[axis], 0) / cells.length);
    const away = (cell) => (cell[0] - mean[0]) ** 2 + (cell[1] - mean[1]) ** 2;
    const [row, column] = cells.reduce((best, cell) => (away(cell) < away(best) ? cell : best));
    const rows = cells.map((cell) => cell[0]);
    const columns = cells.map((cell) => cell[1]);
    places.set(region, {
      row, column,
      top: Math.min(...rows) / labels.length, bottom: (Math.max(...rows) + 1) / labels.length,
      left: Math.min(...columns) / labels[0].length, right: (Math.max(...columns) + 1) / labels[0].length,
    });
  }
  return places;
}

// One region cut out of what was used of a photograph; null where the region is nowhere the likeliest.
export function cutOut(image, box, seen, region) {
  const place = middles(seen.labels).get(region);
  if (!place) return null;
  const part = box || WHOLE;
  const [w, h] = [part.right - part.left, part.bottom - part.top];
  const left = (part.left + place.left * w) * image.naturalWidth;
  const top = (part.top + place.top * h) * image.naturalHeight;
  const width = Math.max(1, (place.right - place.left) * w * image.naturalWidth);
  const height = Math.max(1, (place.bottom - place.top) * h * image.naturalHeight);
  const scale = Math.min(112 / width, 56 / height);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.getContext("2d").drawImage(image, left, top, width, height, 0, 0, canvas.width, canvas.height);
  return canvas;
}
