"use strict";
// Seconds per round, by phase.

const phases = () => [...new Set(DATA.runs.flatMap((run) => Object.keys(run.seconds)))];

function timingsTable() {
  return shownStrategies().map((strategy) => {
    const runs = runsOf({ attack: state.attack, strategy });
    return { strategy, seconds: phases().map((phase) => mean(runs.map((run) => run.seconds[phase]))) };
  });
}

function tabulateTimings() {
  tabulate("timings-table", {
    caption: `Seconds per round under ${DATA.attacks[state.attack]}, mean over rounds and seeds`,
    head: ["Strategy", ...phases()],
    rows: timingsTable().map(({ strategy, seconds }) => [DATA.strategies[strategy], ...seconds.map((value) => spell(value, 4))]),
  });
}

function drawTimings(holder) {
  const rows = timingsTable();
  if (!rows.length) return clear(holder);
  const colours = isDark() ? DARK : LIGHT;
  const shapes = ["", "/", ".", "x", "-"];
  show(
    holder,
    `Bars: seconds per round by phase for ${rows.length} strategies; the table below shows the numbers`,
    phases().map((phase, place) => ({
      type: "bar", orientation: "h", name: plain(phase), y: range(rows.length), x: rows.map(({ seconds }) => seconds[place]),
      marker: { color: colours[place % colours.length], pattern: { shape: shapes[place % shapes.length], fillmode: "overlay", fgcolor: tone("sheet"), fgopacity: 0.6, size: 7 } },
      hovertemplate: `${plain(phase)}: %{x:.4f} s<extra></extra>`,
    })),
    {
      height: 110 + rows.length * 36, barmode: "stack", bargap: 0.35, showlegend: true,
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", traceorder: "normal" },
      margin: { l: 10, r: 10, t: 40, b: 10 },
      xaxis: axis({ title: "seconds per round", rangemode: "tozero" }),
      yaxis: named(rows.map(({ strategy }) => plain(DATA.strategies[strategy], labelRoom(holder))), { autorange: "reversed" }),
    },
  );
}
