"use strict";
// A figure with one point per strategy, drawn without any library, so that paper and captures have it.

const SIZE = { width: 720, height: 440, left: 56, right: 20, top: 16, bottom: 52 };
const LINE = 13;

/** Ticks of an axis from low to high, at most about six. */
function ticks(low, high) {
  const step = [1, 2, 5, 10, 20, 25].find((each) => (high - low) / each <= 6) ?? 25;
  const first = Math.ceil(low / step) * step;
  return Array.from({ length: Math.floor((high - first) / step + 1e-9) + 1 }, (_, place) => first + place * step);
}

/** Range of values, with a margin, inside 0 and 100. */
function extent(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = Math.max(1, (high - low) * 0.06);
  return [Math.max(0, low - margin), Math.min(100, high + margin)];
}

/**
 * Draw points {name, x, y, front, note} with numbers from 0 to 100. `turned`: small x are on the right, since they
 * are better. `pick` is called with the name of a chosen point.
 */
function scatter(holder, points, { title, label, turned, pick }) {
  if (!points.length) return put(holder, element("p", { class: "quiet" }, "No strategy has both numbers."));
  const width = Math.min(SIZE.width, Math.max(320, holder.clientWidth || SIZE.width));
  const [fromX, toX] = extent(points.map((point) => point.x));
  const [fromY, toY] = extent(points.map((point) => point.y));
  const across = (value) => {
    const part = (value - fromX) / (toX - fromX || 1);
    return SIZE.left + (turned ? 1 - part : part) * (width - SIZE.left - SIZE.right);
  };
  const down = (value) => SIZE.height - SIZE.bottom - ((value - fromY) / (toY - fromY || 1)) * (SIZE.height - SIZE.top - SIZE.bottom);
  const bottom = SIZE.height - SIZE.bottom;
  const grid = [
    ...ticks(fromX, toX).flatMap((value) => [
      drawn("line", { class: "grid", x1: across(value), x2: across(value), y1: SIZE.top, y2: bottom }),
      drawn("text", { x: across(value), y: bottom + 18, "text-anchor": "middle" }, String(value)),
    ]),
    ...ticks(fromY, toY).flatMap((value) => [
      drawn("line", { class: "grid", x1: SIZE.left, x2: width - SIZE.right, y1: down(value), y2: down(value) }),
      drawn("text", { x: SIZE.left - 8, y: down(value) + 4, "text-anchor": "end" }, String(value)),
    ]),
    drawn("text", { x: (SIZE.left + width - SIZE.right) / 2, y: SIZE.height - 10, "text-anchor": "middle" }, title),
    drawn("text", { x: 14, y: (SIZE.top + bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${(SIZE.top + bottom) / 2})` },
      "accuracy without attack, %"),
  ];
  const front = points.filter((point) => point.front).sort((one, other) => across(one.x) - across(other.x));
  const path = front.map((point) => `${across(point.x).toFixed(1)},${down(point.y).toFixed(1)}`).join(" ");
  const marks = [...points].sort((one, other) => one.front - other.front).map((point) =>
    drawn("circle", {
      class: point.front ? "point front" : "point", cx: across(point.x), cy: down(point.y), r: point.front ? 6 : 5,
      onclick: () => pick(point.name),
    }, drawn("title", {}, `${point.name}: ${point.note}`)));
  const names = placed(front, across, down, width).map(({ point, x, y, anchor }) =>
    drawn("text", { class: "name", x, y, "text-anchor": anchor }, point.name));
  put(holder, drawn("svg", {
    viewBox: `0 0 ${width} ${SIZE.height}`, width, height: SIZE.height, role: "img", "aria-label": label, class: "scatter",
  }, ...grid, drawn("polyline", { class: "front", points: path }), ...marks, ...names));
}

/** Places of the names of points, so that no name covers another one. */
function placed(points, across, down, width) {
  const taken = [];
  return points.map((point) => {
    const long = point.name.length * 6.6;
    const anchor = across(point.x) + long + 12 > width - SIZE.right ? "end" : "start";
    const x = across(point.x) + (anchor === "end" ? -6 : 6);
    const left = anchor === "end" ? x - long : x;
    const free = (y) => taken.every((box) => left > box.right || left + long < box.left || Math.abs(y - box.y) >= LINE);
    const steps = [0, 1, -1, 2, -2, 3, -3, 4, -4].map((step) => down(point.y) - 9 + step * LINE);
    const y = steps.find((each) => each > SIZE.top + 6 && each < SIZE.height - SIZE.bottom - 4 && free(each)) ?? steps[0];
    taken.push({ left, right: left + long, y });
    return { point, x, y, anchor };
  });
}
