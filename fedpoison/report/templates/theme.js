"use strict";
// Colours and layout that all figures share.

const LIGHT = ["#0072B2", "#D55E00", "#009E73", "#B5588F", "#A87400", "#3B9BD1", "#1c1e21", "#7A5A2B"];
const DARK = ["#5FB8F0", "#FF8B3D", "#35D0A2", "#F0A3CC", "#F2C14E", "#B7D9FF", "#F5F3EF", "#C9A878"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const CIVIDIS = [
  [0, "#00224e"], [0.125, "#123570"], [0.25, "#3b496c"], [0.375, "#575d6d"], [0.5, "#707173"],
  [0.625, "#8a8678"], [0.75, "#a59c74"], [0.875, "#c3b369"], [1, "#fee838"],
];
const CALM = matchMedia("(prefers-reduced-motion: reduce)");
const NIGHT = matchMedia("(prefers-color-scheme: dark)");
let picked = null;

const isDark = () => document.documentElement.dataset.theme === "dark";
const tone = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function dress(theme) {
  document.documentElement.dataset.theme = theme;
  document.getElementById("theme").textContent = theme === "dark" ? "Light" : "Dark";
  document.getElementById("theme").setAttribute("aria-label", `Change to ${theme === "dark" ? "light" : "dark"} colours`);
}

/** The line of a strategy: the same in every figure. */
function lineOf(strategy) {
  const colours = isDark() ? DARK : LIGHT;
  return {
    color: colours[strategy % colours.length],
    dash: DASHES[(strategy + Math.floor(strategy / colours.length)) % DASHES.length],
  };
}

/** Orange where the attack took accuracy, blue where the run is better than its clean run. */
const diverging = () => [[0, isDark() ? "#4aa3e0" : "#2a78b5"], [0.5, tone("zero")], [1, isDark() ? "#e0701f" : "#c8590a"]];

/** Black or white, whichever is easier to read on this part of a scale of colours. */
function inkOn(scale, part) {
  const above = Math.max(1, scale.findIndex(([stop]) => stop >= Math.min(1, Math.max(0, part))));
  const [[low, from], [high, to]] = [scale[above - 1], scale[above]];
  const share = Math.min(1, Math.max(0, (part - low) / (high - low)));
  const light = [1, 3, 5].map((at) => {
    const [one, other] = [from, to].map((colour) => parseInt(colour.slice(at, at + 2), 16));
    const value = (one + share * (other - one)) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2] > 0.179 ? "#000000" : "#ffffff";
}

/** Text for plotly, which interprets tags: escaped, and shortened if a figure has no room. */
function plain(text, most = 400) {
  const cut = text.length > most ? `${text.slice(0, most - 1)}…` : text;
  return cut.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

const narrow = (element) => element.clientWidth < 560;
const labelRoom = (element) => (narrow(element) ? 16 : 30);

function frame(more) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: 'system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif', size: 13, color: tone("ink") },
    margin: { l: 10, r: 10, t: 10, b: 10 },
    hoverlabel: { bgcolor: tone("sheet"), bordercolor: tone("quiet"), font: { color: tone("ink") } },
    showlegend: false,
    dragmode: false,
    ...more,
  };
}

function axis(more) {
  return {
    automargin: true,
    gridcolor: tone("line"),
    linecolor: tone("line"),
    zeroline: false,
    fixedrange: true,
    ...more,
    title: { text: more.title ?? "", standoff: 8, font: { color: tone("quiet") } },
  };
}

/** An axis with texts at its places. */
const named = (labels, more) => axis({
  tickmode: "array", tickvals: range(labels.length), ticktext: labels, showgrid: false, ticks: "", ...more,
});

const bar = (title) => ({
  title: { text: title, side: "top", font: { size: 12, color: tone("quiet") } },
  thickness: 12, outlinewidth: 0, len: 1, ypad: 0,
  tickfont: { color: tone("quiet") },
});

const CONFIG = {
  responsive: true,
  displaylogo: false,
  modeBarButtons: [["toImage"]],
  toImageButtonOptions: { format: "svg" },
};
