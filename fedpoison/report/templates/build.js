"use strict";
// Tables below the figures, and figures that are drawn when they come into sight, or when the page has time.

/** Put a table into the details with this id; cells are texts or elements. */
function tabulate(id, { caption, head, rows }) {
  const table = element(
    "table", {},
    element("caption", {}, element("span", {}, caption)),
    element("thead", {}, element("tr", {}, ...head.map((text, place) =>
      element("th", { scope: "col", class: place ? "number" : null }, text)))),
    element("tbody", {}, ...rows.map(([name, ...cells]) =>
      element("tr", {}, element("th", { scope: "row" }, name),
        ...cells.map((cell) => element("td", { class: "number" }, cell))))),
  );
  const holder = byId(id).querySelector(".scroll");
  holder.setAttribute("tabindex", "0");
  holder.setAttribute("role", "region");
  holder.setAttribute("aria-label", caption);
  holder.replaceChildren(table);
}

const figures = new Map();
const stale = new Set();
const inSight = new Set();
const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) inSight.add(target.id);
    else inSight.delete(target.id);
  }
  paint(inSight);
}, { rootMargin: "300px" });

/** Call `draw(element)` when the figure is in sight and its contents have changed. */
function figure(id, draw) {
  figures.set(id, draw);
  stale.add(id);
  sight.observe(byId(id));
}

function paint(ids) {
  for (const id of [...ids].filter((name) => stale.has(name))) {
    stale.delete(id);
    figures.get(id)(byId(id));
  }
}

function repaint() {
  for (const id of figures.keys()) stale.add(id);
  paint(inSight);
  paintRest();
}

/** Draw the figures out of sight one after the other when the page has time, so that a capture of the page has them. */
function paintRest() {
  if (!stale.size || waiting) return;
  waiting = true;
  const draw = () => {
    waiting = false;
    paint([...stale].slice(0, 1));
    paintRest();
  };
  // Without the longest time, some browsers never call back while the page is hidden or never idle.
  if (window.requestIdleCallback) requestIdleCallback(draw, { timeout: LONGEST_WAIT });
  else setTimeout(draw);
}

/** Longest time until the next figure out of sight is drawn, in milliseconds. */
const LONGEST_WAIT = 200;
let waiting = false;

/** Draw a figure, which screen readers know by `label`; `onCell` is called with the point of a click. */
function show(holder, label, traces, layout, onCell) {
  holder.classList.remove("empty");
  holder.setAttribute("role", "img");
  holder.setAttribute("aria-label", label);
  Plotly.react(holder, traces, frame(layout), CONFIG);
  if (onCell && !holder.dataset.clicks) {
    holder.dataset.clicks = "yes";
    holder.on("plotly_click", ({ points }) => onCell(points[0]));
  }
}

/** Remove a figure without contents. */
function clear(holder) {
  if (holder.data) Plotly.purge(holder);
  delete holder.dataset.clicks;
  holder.replaceChildren();
  holder.classList.add("empty");
  holder.removeAttribute("role");
  holder.removeAttribute("aria-label");
}

/** Traces of a heat map, with numbers in its cells if there is room; `marks` replace numbers, `stars` follow them. */
function heat(values, more) {
  const cells = values.length * (values[0] ?? []).length;
  const { decimals = 0, marks = [], stars = [], numbers = cells <= 260, ...rest } = more;
  const map = {
    type: "heatmap", z: values, xgap: 2, ygap: 2, colorscale: CIVIDIS, zmin: 0, zmax: 100, hoverongaps: false, ...rest,
  };
  return numbers ? [map, written(map, decimals, marks, stars)] : [map];
}

/** The numbers of a heat map, each in black or white to fit its cell. */
function written({ z, zmin, zmax, colorscale }, decimals, marks, stars) {
  const cells = z.flatMap((row, y) => row.map((value, x) => ({ x, y, value })));
  return {
    type: "scatter", mode: "text", hoverinfo: "skip", cliponaxis: false,
    x: cells.map(({ x }) => x), y: cells.map(({ y }) => y),
    text: cells.map(({ x, y, value }) =>
      (marks[y]?.[x]?.replace(/ (stopped|result)$/, "<br>$1") ?? spell(value, decimals)) + (stars[y]?.[x] ?? "")),
    textfont: {
      size: 12,
      color: cells.map(({ value }) => (value === null ? tone("quiet") : inkOn(colorscale, (value - zmin) / (zmax - zmin)))),
    },
  };
}
