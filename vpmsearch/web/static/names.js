// Names of regions that tell them apart: "upper torso" and "lower torso" where the index calls two regions "torso".

const SEVERAL = { 2: ["upper", "lower"], 3: ["upper", "middle", "lower"] };
const SIDES = { 2: ["left", "right"], 3: ["left", "middle", "right"] };

// names: of the regions, row by row, as /api/stats gives them. grid: [rows, columns].
export function tellingNames(names, [rows, columns]) {
  const ofRow = Array.from({ length: rows }, (_, row) => names[row * columns]);
  return names.map((name, region) => {
    const row = Math.floor(region / columns);
    const alike = ofRow.flatMap((other, i) => (other === name ? [i] : []));
    const place = alike.indexOf(row);
    const height = alike.length < 2 ? "" : SEVERAL[alike.length]?.[place] ?? `${place + 1}.`;
    const side = columns < 2 ? "" : SIDES[columns]?.[region % columns] ?? `column ${(region % columns) + 1}`;
    return [height, name, side && `(${side})`].filter(Boolean).join(" ");
  });
}
