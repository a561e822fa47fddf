"use strict";
// Accuracy that each class lost to the attack, against the clean runs.

/** Percentage points that each class lost, and all classes together last; null for runs without a clean run. */
function damageOf(run) {
  if (run.twin === null) return null;
  const cleanRun = DATA.runs[run.twin];
  const lost = (read) => {
    const [clean, attacked] = [last(read(cleanRun)), last(read(run))];
    return clean === null || attacked === null ? null : percent(clean - attacked);
  };
  return [...run.classes.map((_, number) => lost((one) => one.classes[number])), lost((one) => one.accuracy)];
}

function damageTable() {
  const rows = shownStrategies()
    .map((strategy) => {
      const found = runsOf({ attack: state.attack, strategy }).map(damageOf).filter((row) => row !== null);
      return { strategy, runs: found.length, values: found.length ? found[0].map((_, place) => mean(found.map((row) => row[place]))) : null };
    })
    .filter((row) => row.values !== null);
  const classes = rows.length ? rows[0].values.length - 1 : 0;
  const runs = rows.flatMap(({ strategy }) => runsOf({ attack: state.attack, strategy }));
  return { rows, labels: [...range(classes).map((number) => classLabel(number, runs)), "all"] };
}

function describeDamage() {
  const { rows, labels } = damageTable();
  const note = byId("damage-note");
  note.hidden = rows.length > 0 && !withoutMean();
  if (isClean(DATA.attacks[state.attack])) note.textContent = "These runs are clean. Choose an attack above.";
  else if (rows.length || !wasFinished(state.attack)) note.textContent = withoutMean() || "No run under this attack finished.";
  else note.textContent =
    "The report contains no clean run for these runs. Run fedpoison run --twin, or fedpoison compare with none among its attacks.";
  byId("damage-table").hidden = !rows.length;
  tabulate("damage-table", {
    caption: `Damage by class under ${DATA.attacks[state.attack]}, percentage points, mean over the runs with a clean run`,
    head: ["Strategy", "runs", ...labels],
    rows: rows.map(({ strategy, runs, values }) => [DATA.strategies[strategy], String(runs), ...values.map((value) => spell(value))]),
  });
}

function drawDamage(holder) {
  const { rows, labels } = damageTable();
  if (!rows.length) return clear(holder);
  const names = rows.map(({ strategy }) => plain(DATA.strategies[strategy], labelRoom(holder)));
  const across = narrow(holder) ? [names, labels] : [labels, names];
  const cells = across[1].map((_, y) => across[0].map((__, x) => (narrow(holder) ? [x, y] : [y, x])));
  const read = (take) => cells.map((row) => row.map(([strategy, place]) => take(rows[strategy].values[place], strategy, place)));
  const values = read((value) => value);
  const most = Math.max(5, ...values.flat().map((value) => Math.abs(value ?? 0)));
  const x = { ...(across[0].length > 24 ? sparse(labels) : {}), tickangle: narrow(holder) ? -35 : 0 };
  show(
    holder,
    `Heat map of the damage to each class for ${rows.length} strategies; the table below shows its numbers`,
    heat(values, {
      numbers: across[0].length <= (narrow(holder) ? 6 : 16), zmin: -most, zmax: most, colorscale: diverging(),
      showscale: !narrow(holder), colorbar: bar("points"),
      customdata: read((_, strategy, place) => `${names[strategy]}, ${place === labels.length - 1 ? "all classes" : `class ${labels[place]}`}`),
      hovertemplate: "%{customdata}: %{z:.1f} points<extra></extra>",
    }),
    {
      height: 110 + Math.max(2, across[1].length) * (narrow(holder) ? 30 : 42),
      xaxis: named(across[0], { title: narrow(holder) ? "" : "class", ...x }),
      yaxis: named(across[1], { title: narrow(holder) ? "class" : "", autorange: "reversed" }),
    },
  );
}
