"use strict";
// Elements of the page, and figures that are drawn when they come into sight.

const byId = (id) => document.getElementById(id);

/** An element with attributes and children; texts become text, never markup. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Put a table into the details with this id; cells are texts or elements. */
function tabulate(id, { caption, head, rows }) {
  const table = element(
    "table", {},
    element("caption", {}, caption),
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

/** Have `draw(element)` called when the figure is in sight and what it shows has changed. */
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
}

/** Draw a figure, which screen readers know by `label`; `onCell` is told the place of a click. */
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

/** Take a figure away that has nothing to show. */
function clear(holder) {
  if (holder.data) Plotly.purge(holder);
  delete holder.dataset.clicks;
  holder.replaceChildren();
  holder.classList.add("empty");
  holder.removeAttribute("role");
  holder.removeAttribute("aria-label");
}

/** A heat map with the numbers in its cells where there is room for them. */
function heat(values, more) {
  const cells = values.length * (values[0] ?? []).length;
  const text = values.map((row) => row.map((value) => spell(value, more.decimals ?? 0)));
  const { decimals, numbers = cells <= 260, ...rest } = more;
  return {
    type: "heatmap", z: values, xgap: 2, ygap: 2, colorscale: CIVIDIS, zmin: 0, zmax: 100, hoverongaps: false,
    ...(numbers ? { text, texttemplate: "%{text}" } : {}),
    ...rest,
  };
}
