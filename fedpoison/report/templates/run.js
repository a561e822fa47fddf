"use strict";
// The chosen cell: its classes by round, and its confusion matrix in the round of the slider.

const matrixRounds = () => (chosenRuns().length ? longest(chosenRuns()).matrixRounds : []);
const longest = (runs) => runs.reduce((best, run) => (last(run.rounds) > last(best.rounds) ? run : best));

/** The round of the slider. Default: the last round. */
function currentRound() {
  const rounds = matrixRounds();
  return rounds.includes(state.round) ? state.round : last(rounds);
}

/** Sum of the confusion matrices of the chosen runs in one round: (k, k). */
function matrixOf(round) {
  const found = chosenRuns()
    .map((run) => run.matrices[run.matrixRounds.indexOf(round)])
    .filter((counts) => counts !== undefined);
  const classes = found.length ? Math.sqrt(found[0].length) : 0;
  const at = (row, column) => found.reduce((sum, counts) => sum + counts[row * classes + column], 0);
  return range(classes).map((row) => range(classes).map((column) => at(row, column)));
}

function shares(counts) {
  return counts.map((row) => {
    const all = row.reduce((sum, number) => sum + number, 0);
    return row.map((number) => (all ? (100 * number) / all : null));
  });
}

function facts() {
  const runs = chosenRuns();
  if (!runs.length) return "There is no run of this strategy under this attack.";
  const counts = matrixOf(currentRound());
  const rows = shares(counts);
  const all = counts.flat().reduce((sum, number) => sum + number, 0);
  const right = range(counts.length).reduce((sum, number) => sum + counts[number][number], 0);
  const ranked = range(counts.length).filter((number) => rows[number][number] !== null)
    .sort((one, other) => rows[one][one] - rows[other][other]);
  const worst = ranked[0];
  return `After round ${currentRound()}: accuracy ${spell((100 * right) / all)} %, ` +
    `worst is class ${classLabel(worst, runs)} with ${spell(rows[worst][worst])} %. ` +
    (runs.length > 1 ? `Sums over ${runs.length} seeds.` : `Seed ${runs[0].seed}.`) +
    (runs.every((run) => run.complete) ? "" : ` Not finished: round ${last(runs[0].rounds)} of ${runs[0].planned}.`);
}

const classLabels = (count) => range(count).map((number) => classLabel(number, chosenRuns()));

/** One tick per class: its number, with its name if it has one. */
const classTicks = (count) => ({ tickmode: "array", tickvals: range(count), ticktext: classLabels(count) });

function describeRun() {
  const slider = byId("round");
  const rounds = matrixRounds();
  slider.disabled = rounds.length < 2;
  slider.max = Math.max(0, rounds.length - 1);
  slider.value = rounds.indexOf(currentRound());
  const text = rounds.length ? `${currentRound()} of ${last(rounds)}` : "-";
  byId("round-said").textContent = text;
  slider.setAttribute("aria-valuetext", `round ${text}`);
  byId("run-facts").textContent = facts();
  const texts = state.seed === "" ? notesOf(state) : chosenRuns().flatMap((run) => run.notes);
  byId("run-notes").hidden = !texts.length;
  put(byId("run-notes"), ...texts.map((text) => element("li", {}, text)));
  const counts = matrixOf(currentRound());
  tabulate("confusion-table", {
    caption: `Test images by true class (rows) and predicted class (columns) after round ${currentRound()}`,
    head: ["True class", ...classLabels(counts.length)],
    rows: counts.map((row, number) => [classLabel(number, chosenRuns()), ...row.map(String)]),
  });
}

function drawConfusion(holder) {
  const counts = matrixOf(currentRound());
  if (!counts.length) return clear(holder);
  const side = Math.min(560, Math.max(300, holder.clientWidth * 0.82));
  const ticks = counts.length <= 16 ? classTicks(counts.length) : { nticks: 12 };
  show(
    holder,
    `Confusion matrix after round ${currentRound()}, per cent of each true class; the table below shows the counts`,
    heat(shares(counts), {
      numbers: counts.length <= 16, showscale: !narrow(holder), customdata: counts, colorbar: bar("%"),
      xgap: counts.length > 30 ? 0 : 1, ygap: counts.length > 30 ? 0 : 1,
      hovertemplate: "true %{y}, predicted %{x}<br>%{z:.1f} %, %{customdata} images<extra></extra>",
    }),
    {
      height: side,
      xaxis: axis({ title: "predicted class", showgrid: false, ...ticks }),
      yaxis: axis({ title: "true class", showgrid: false, autorange: "reversed", ...ticks }),
    },
  );
}

function drawRunClasses(holder) {
  const runs = chosenRuns();
  if (!runs.length) return clear(holder);
  const classes = range(classCount(runs));
  const found = classes.map((number) => curve(runs, (run) => run.classes[number]));
  const rounds = found[0].rounds;
  const place = rounds.reduce((best, round, at) =>
    (Math.abs(round - currentRound()) < Math.abs(rounds[best] - currentRound()) ? at : best), 0);
  const wide = rounds.length > (narrow(holder) ? 10 : 16);
  show(
    holder,
    "Heat map of the accuracy of each class after each round",
    heat(found.map((one) => one.mean), {
      numbers: !wide && classes.length <= 16, xgap: wide ? 0 : 1, ygap: classes.length > 30 ? 0 : 1, colorbar: bar("%"), showscale: !narrow(holder),
      customdata: classes.map(() => rounds), hovertemplate: "class %{y}, round %{customdata}: %{z:.1f} %<extra></extra>",
    }),
    {
      height: Math.min(560, Math.max(300, holder.clientWidth * 0.82)),
      xaxis: named(rounds.map(String), { title: "round", ...(rounds.length > 12 ? sparse(rounds) : {}) }),
      yaxis: axis({ title: "class", showgrid: false, autorange: "reversed", ...(classes.length <= 16 ? classTicks(classes.length) : {}) }),
      shapes: [{
        type: "rect", x0: place - 0.5, x1: place + 0.5, y0: -0.5, y1: classes.length - 0.5,
        line: { color: isDark() ? "#ff8b3d" : "#d55e00", width: 3 },
      }],
    },
    (point) => change({ round: nearest(point.customdata) }),
  );
}

/** The round with a confusion matrix that is nearest to this one. */
const nearest = (round) => matrixRounds().reduce((best, one) =>
  (Math.abs(one - round) < Math.abs(best - round) ? one : best));

/** Ticks on some of many rounds. */
function sparse(rounds) {
  const step = Math.ceil(rounds.length / 10);
  const places = range(rounds.length).filter((place) => place % step === 0);
  return { tickvals: places, ticktext: places.map((place) => String(rounds[place])) };
}
