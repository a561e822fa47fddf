"use strict";
// Attacks by strategies.

function overviewTable() {
  const attacks = present("attack");
  const strategies = present("strategy");
  const values = attacks.map((attack) =>
    strategies.map((strategy) =>
      percent(mean(runsOf({ attack, strategy }).map((run) => last(run[state.measure]))))),
  );
  const marks = attacks.map((attack) => strategies.map((strategy) => markOf({ attack, strategy })));
  const starOf = (cell) => (notesOf(cell).length && !markOf(cell)?.endsWith("stopped") ? " *" : "");
  const stars = attacks.map((attack) => strategies.map((strategy) => starOf({ attack, strategy })));
  return { attacks, strategies, values, marks, stars };
}

function drawOverview(holder) {
  const { attacks, strategies, values, marks, stars } = overviewTable();
  const room = labelRoom(holder);
  const x = strategies.map((strategy) => plain(DATA.strategies[strategy], room));
  const y = attacks.map((attack) => plain(DATA.attacks[attack], room));
  const chosen = [strategies.indexOf(state.strategy), attacks.indexOf(state.attack)];
  const full = attacks.map((attack) =>
    strategies.map((strategy) => `${plain(DATA.strategies[strategy])} under ${plain(DATA.attacks[attack])}`));
  const steep = strategies.length > 6 || narrow(holder) || Math.max(...x.map((label) => label.length)) > 14;
  show(
    holder,
    `Heat map: ${MEASURES[state.measure]} of ${strategies.length} strategies under ${attacks.length} attacks; the table below shows its numbers`,
    heat(values, {
      decimals: 1, marks, stars, numbers: strategies.length <= (narrow(holder) ? 5 : 16), customdata: full, showscale: !narrow(holder), colorbar: bar("%"),
      hovertemplate: `%{customdata}<br>${MEASURES[state.measure]} %{z:.1f} %<extra></extra>`,
    }),
    {
      height: 130 + Math.max(attacks.length, 2) * 44 + (steep ? 60 : 0),
      xaxis: named(x, { title: "strategy", tickangle: steep ? -35 : 0 }),
      yaxis: named(y, { autorange: "reversed" }),
      shapes: [{
        type: "rect", x0: chosen[0] - 0.5, x1: chosen[0] + 0.5, y0: chosen[1] - 0.5, y1: chosen[1] + 0.5,
        line: { color: isDark() ? "#ff8b3d" : "#d55e00", width: 4 },
      }],
    },
    ({ x: column, y: row }) => {
      const now = overviewTable();
      open(now.attacks[row], now.strategies[column]);
    },
  );
}

/** Choose a cell and go to its runs. */
function open(attack, strategy) {
  if (!begunRuns({ attack, strategy }).length) return;
  change({ attack, strategy, seed: "", round: null });
  byId("run").scrollIntoView({ behavior: CALM.matches ? "auto" : "smooth" });
  byId("run").focus({ preventScroll: true });
}

function tabulateOverview() {
  const { attacks, strategies, values, marks, stars } = overviewTable();
  tabulate("overview-table", {
    caption: `${MEASURES[state.measure]}, per cent, mean over the finished seeds`,
    head: ["Attack", ...strategies.map((strategy) => DATA.strategies[strategy])],
    rows: attacks.map((attack, row) => [
      DATA.attacks[attack],
      ...strategies.map((strategy, column) => {
        if (!begunRuns({ attack, strategy }).length) return "no run";
        const mean = runsOf({ attack, strategy }).length ? spell(values[row][column]) : "not finished";
        const text = (marks[row][column] ?? mean) + stars[row][column];
        const pressed = attack === state.attack && strategy === state.strategy;
        return element("button", {
          type: "button", class: "plain", "aria-pressed": String(pressed),
          "aria-label": `${DATA.strategies[strategy]} under ${DATA.attacks[attack]}: ${text}`,
          onclick: () => open(attack, strategy),
        }, text);
      }),
    ]),
  });
}
