"use strict";
// The runs, the chosen runs, and means over runs. Shares are parts of 100,000; null is a missing value.

const DATA = JSON.parse(document.getElementById("data").textContent);
/** Whether this label belongs to clean runs, with or without a goal. */
const isClean = (label) => label.split(", ")[0] === "none";
const MEASURES = {
  accuracy: "accuracy",
  worst: "accuracy of the worst class",
  success: "attack success",
};
const state = { setting: 0, attack: 0, strategy: 0, seed: "", round: null, measure: "accuracy", hidden: new Set() };
/** The parts of the state that are labels, with the texts of their places. */
const LABELS = { setting: DATA.settings, attack: DATA.attacks, strategy: DATA.strategies };

/** The runs of a cell, with unfinished runs. */
function begunRuns({ setting = state.setting, attack, strategy }) {
  return DATA.runs.filter(
    (run) => run.setting === setting && run.attack === attack && run.strategy === strategy,
  );
}

/** Text that replaces the mean of a cell: how many runs the strategy stopped, or "no result"; undefined if none. */
function markOf({ setting = state.setting, attack, strategy }) {
  return DATA.marks.find(
    (mark) => mark.setting === setting && mark.attack === attack && mark.strategy === strategy,
  )?.text;
}

/** What the finished runs of a cell lost, in texts. */
function notesOf({ setting = state.setting, attack, strategy }) {
  return DATA.notes.find(
    (note) => note.setting === setting && note.attack === attack && note.strategy === strategy,
  )?.texts ?? [];
}

/** The finished runs of a cell, over which means are computed; empty if a run stopped or is no result. */
const runsOf = (cell) => (markOf(cell) ? [] : begunRuns(cell).filter((run) => run.complete));

/** The runs of the chosen cell, with unfinished runs. */
const cellRuns = () => begunRuns(state);

/** The run of the chosen cell with the chosen seed. Without a seed: all finished runs. */
function chosenRuns() {
  return state.seed === "" ? runsOf(state) : cellRuns().filter((run) => String(run.seed) === state.seed);
}

/** The attacks or strategies (by "attack", "strategy") that a run of the chosen setting has. */
function present(axis) {
  const found = new Set(DATA.runs.filter((run) => run.setting === state.setting).map((run) => run[axis]));
  return [...found].sort((one, other) => one - other);
}

/** The strategies with finished runs under the chosen attack in the chosen setting, without hidden strategies. */
function shownStrategies() {
  return present("strategy").filter(
    (strategy) => !state.hidden.has(strategy) && runsOf({ attack: state.attack, strategy }).length,
  );
}

/** Sentences about the strategies without a mean under the chosen attack; empty if all have one. */
function withoutMean() {
  const marked = present("strategy").map((strategy) => [DATA.strategies[strategy], markOf({ attack: state.attack, strategy })]);
  const sentence = (start, wanted) => {
    const names = marked.filter(([, mark]) => mark && wanted(mark)).map(([name]) => name);
    return names.length ? `${start}: ${names.join(", ")}.` : "";
  };
  const noResult = (mark) => mark === "no result";
  return [sentence("Stopped, without a mean", (mark) => !noResult(mark)), sentence("No result", noResult)].filter(Boolean).join(" ");
}

/** Whether the chosen setting has finished runs under the attack. */
const wasFinished = (attack) => present("strategy").some((strategy) => runsOf({ attack, strategy }).length);

function mean(values) {
  const there = values.filter((value) => value !== null && value !== undefined);
  return there.length ? there.reduce((sum, value) => sum + value, 0) / there.length : null;
}

const percent = (parts) => (parts === null || parts === undefined ? null : parts / 1000);
/** A number with so many decimals, never "-0"; a dash where it is missing. */
function spell(value, decimals = 1) {
  if (value === null || value === undefined) return "-";
  const text = value.toFixed(decimals);
  return Number(text) === 0 ? (0).toFixed(decimals) : text;
}
const last = (list) => list[list.length - 1];

/** Mean, lowest and highest of one curve over runs, for each round of any run. */
function curve(runs, read) {
  const rounds = [...new Set(runs.flatMap((run) => run.rounds))].sort((one, other) => one - other);
  const columns = rounds.map((round) =>
    runs
      .map((run) => [read(run), run.rounds.indexOf(round)])
      .filter(([, place]) => place >= 0)
      .map(([values, place]) => percent(values[place]))
      .filter((value) => value !== null),
  );
  const fold = (pick) => columns.map((values) => (values.length ? pick(values) : null));
  return {
    rounds,
    mean: fold(mean),
    low: fold((values) => Math.min(...values)),
    high: fold((values) => Math.max(...values)),
  };
}

/** The number of classes that the runs have in common. */
const classCount = (runs) => (runs.length ? Math.min(...runs.map((run) => run.classes.length)) : 0);

/** The number of a class, with its name if all these runs give it the same one. */
function classLabel(number, runs) {
  const names = [...new Set(runs.map((run) => run.names[number]))];
  return names.length === 1 && names[0] ? `${number} ${names[0]}` : String(number);
}

const range = (count) => Array.from({ length: count }, (_, place) => place);
