"use strict";
// Accuracy of each class by round: a panel per class, a line per strategy.

const MOST_PANELS = 12;
const FIRST_SHOWN = 8;
const MOST_BANDS = 4;

function panels() {
  const runs = shownStrategies().flatMap((strategy) => runsOf({ attack: state.attack, strategy }));
  const count = classCount(runs);
  const ofClass = (number) => ({ name: `class ${classLabel(number, runs)}`, read: (run) => run.classes[number] });
  const classes = range(count).map(ofClass);
  const whole = { name: "all classes", read: (run) => run.accuracy };
  if (count < MOST_PANELS) return { shown: count ? [whole, ...classes] : [], all: classes };
  const final = (panel) => mean(runs.map((run) => last(panel.read(run)))) ?? 1001;
  const worst = [...classes].sort((one, other) => final(one) - final(other)).slice(0, MOST_PANELS - 1);
  return { shown: [whole, ...worst], all: classes };
}

function band(found, colour, place) {
  const kept = range(found.rounds.length).filter((at) => found.mean[at] !== null);
  return {
    type: "scatter", mode: "lines", x: [...kept, ...[...kept].reverse()].map((at) => found.rounds[at]),
    y: [...kept.map((at) => found.high[at]), ...[...kept].reverse().map((at) => found.low[at])],
    fill: "toself", fillcolor: `${colour}2b`, line: { width: 0 }, hoverinfo: "skip",
    xaxis: `x${place}`, yaxis: `y${place}`,
  };
}

function panelTraces(panel, place) {
  return shownStrategies().flatMap((strategy) => {
    const runs = runsOf({ attack: state.attack, strategy });
    const found = curve(runs, panel.read);
    const style = lineOf(strategy);
    const line = {
      type: "scatter", mode: found.rounds.length > 1 ? "lines" : "markers", x: found.rounds, y: found.mean,
      line: { ...style, width: 2 }, marker: { color: style.color }, name: plain(DATA.strategies[strategy], 40),
      xaxis: `x${place}`, yaxis: `y${place}`,
      hovertemplate: `round %{x}: %{y:.1f} %<extra>${plain(DATA.strategies[strategy], 40)}</extra>`,
    };
    return runs.length > 1 && shownStrategies().length <= MOST_BANDS ? [band(found, style.color, place), line] : [line];
  });
}

function drawCurves(holder) {
  const { shown } = panels();
  if (!shown.length) return clear(holder);
  const columns = holder.clientWidth < 560 ? 2 : holder.clientWidth < 900 ? 3 : 4;
  const rows = Math.ceil(shown.length / columns);
  const height = rows * 170 + 50;
  const layout = { height, margin: { l: 42, r: 8, t: 26, b: 40 }, annotations: [] };
  const gap = { x: columns === 2 ? 0.09 : 0.045, y: 50 / (height - 66) };
  const size = { x: (1 - gap.x * (columns - 1)) / columns, y: (1 - gap.y * (rows - 1)) / rows };
  shown.forEach((panel, at) => {
    const [column, row] = [at % columns, Math.floor(at / columns)];
    const [left, top] = [column * (size.x + gap.x), 1 - row * (size.y + gap.y)];
    const key = at ? at + 1 : "";
    const lowest = at + columns >= shown.length;
    layout[`xaxis${key}`] = axis({
      domain: [left, Math.min(1, left + size.x)], anchor: `y${key}`, automargin: false, nticks: 5, tickformat: "d",
      title: lowest ? "round" : "", rangemode: "tozero",
    });
    layout[`yaxis${key}`] = axis({
      domain: [Math.max(0, top - size.y), top], anchor: `x${key}`, automargin: false, range: [-3, 103],
      tickvals: [0, 50, 100], showticklabels: column === 0,
    });
    layout.annotations.push({
      text: `<b>${panel.name}</b>`, xref: "paper", yref: "paper", x: left, y: top, xanchor: "left", yanchor: "bottom",
      showarrow: false, font: { size: 13, color: tone("ink") },
    });
  });
  show(
    holder,
    `Curves of accuracy by round, a panel for each of ${shown.length - 1} classes; the table below shows the last round`,
    shown.flatMap((panel, at) => panelTraces(panel, at ? at + 1 : "")),
    layout,
  );
}

function tabulateCurves() {
  const { shown, all } = panels();
  const chosen =
    all.length >= MOST_PANELS && shown.length ? `The ${shown.length - 1} classes with the lowest accuracy of ${all.length}; the table shows all classes.` : "";
  byId("classes-note").textContent = [chosen, withoutMean()].filter(Boolean).join(" ");
  tabulate("classes-table", {
    caption: `Accuracy of each class under ${DATA.attacks[state.attack]} after the last round, per cent, mean over seeds`,
    head: ["Strategy", "all", ...all.map((panel) => panel.name.replace("class ", ""))],
    rows: shownStrategies().map((strategy) => {
      const runs = runsOf({ attack: state.attack, strategy });
      const final = (read) => spell(percent(mean(runs.map((run) => last(read(run))))));
      return [DATA.strategies[strategy], final((run) => run.accuracy), ...all.map((panel) => final(panel.read))];
    }),
  });
}

/** Checkboxes that show or hide strategies in every figure that compares strategies. */
function listStrategies() {
  const boxes = present("strategy").map((strategy) => {
    const box = element("input", {
      type: "checkbox", "data-strategy": strategy,
      onchange: () => {
        if (box.checked) state.hidden.delete(strategy);
        else state.hidden.add(strategy);
        rememberState();
        change({});
      },
    });
    box.checked = !state.hidden.has(strategy);
    return element("label", {}, box, swatch(strategy), DATA.strategies[strategy]);
  });
  const group = byId("strategies");
  group.replaceChildren(group.querySelector("legend"), ...boxes);
}

function swatch(strategy) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  const { color, dash } = lineOf(strategy);
  const pattern = { solid: "none", dash: "8 4", dot: "2 3", dashdot: "8 3 2 3" }[dash];
  for (const [name, value] of Object.entries({ width: 30, height: 10, "aria-hidden": "true" })) svg.setAttribute(name, value);
  for (const [name, value] of Object.entries({ x1: 0, x2: 30, y1: 5, y2: 5, stroke: color, "stroke-width": 3, "stroke-dasharray": pattern })) line.setAttribute(name, value);
  svg.append(line);
  return svg;
}
