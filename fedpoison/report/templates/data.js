"use strict";
// The runs, what is chosen of them, and means over them. Shares are parts of 100,000; null is missing.

const DATA = JSON.parse(document.getElementById("data").textContent);
/** Whether nobody attacks under this label, whatever success is measured on. */
const isClean = (label) => label.split(", ")[0] === "none";
const MEASURES = {
  accuracy: "accuracy",
  worst: "accuracy of the worst class",
  success: "attack success",
};
const state = { setting: 0, attack: 0, strategy: 0, seed: "", round: null, measure: "accuracy", hidden: new Set() };

/** The runs of a cell, those included that did not come to their end. */
function begunRuns({ setting = state.setting, attack, strategy }) {
  return DATA.runs.filter(
    (run) => run.setting === setting && run.attack === attack && run.strategy === strategy,
  );
}

/** How many runs of a cell its strategy had to stop, as a text that stands in place of a mean; undefined if none. */
function markOf({ setting = state.setting, attack, strategy }) {
  return DATA.marks.find(
    (mark) => mark.setting === setting && mark.attack === attack && mark.strategy === strategy,
  )?.text;
}

/** The runs of a cell that came to their end: what is compared is a mean over these. None where one had to stop. */
const runsOf = (cell) => (markOf(cell) ? [] : begunRuns(cell).filter((run) => run.complete));

/** The runs of the chosen cell, those included that did not come to their end. */
const cellRuns = () => begunRuns(state);

/** The run of the chosen cell with the chosen seed; all that are compared where none is chosen. */
function chosenRuns() {
  return state.seed === "" ? runsOf(state) : cellRuns().filter((run) => String(run.seed) === state.seed);
}

/** The attacks or strategies (by "attack", "strategy") that a run of the chosen setting has. */
function present(axis) {
  const found = new Set(DATA.runs.filter((run) => run.setting === state.setting).map((run) => run[axis]));
  return [...found].sort((one, other) => one - other);
}

/** The strategies that the chosen attack met in the chosen setting, without those that are switched off. */
function shownStrategies() {
  return present("strategy").filter(
    (strategy) => !state.hidden.has(strategy) && runsOf({ attack: state.attack, strategy }).length,
  );
}

/** A sentence about the strategies that had to stop under the chosen attack; empty if none had. */
function stoppedNote() {
  const stopped = present("strategy").filter((strategy) => markOf({ attack: state.attack, strategy }));
  return stopped.length ? `Had to stop, and have no mean: ${stopped.map((strategy) => DATA.strategies[strategy]).join(", ")}.` : "";
}

/** Whether there is anything to compare under the attack in the chosen setting. */
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

/** Mean, lowest and highest of one curve over runs, for each round that any of them has. */
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

const range = (count) => Array.from({ length: count }, (_, place) => place);
