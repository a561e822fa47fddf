"use strict";
// The controls, and the updates of the page after a change.

const cellName = () => `${DATA.strategies[state.strategy]} under ${DATA.attacks[state.attack]}`;

/** Change the choice and update the page. */
function change(changes) {
  Object.assign(state, changes);
  settle();
  fillChoices();
  listStrategies();
  for (const [name, text] of [["attack", DATA.attacks[state.attack]], ["cell", cellName()], ["run", runName()]]) {
    for (const holder of document.querySelectorAll(`[data-said="${name}"]`)) holder.textContent = text;
  }
  for (const describe of [tabulateOverview, tabulateCurves, describeRun, describeTrust, describeDamage, tabulateTimings, describeProvenance]) describe();
  if (Object.keys(changes).length) {
    byId("said").textContent = `${cellName()}. ${facts()}`;
    rememberState();
  }
  repaint();
}

/** Write the choice into the address. */
function rememberState() {
  const labels = Object.entries(LABELS).map(([name, texts]) => [name, texts.length > 1 ? texts[state[name]] : null]);
  const measure = state.measure === "accuracy" ? null : state.measure;
  const names = [...state.hidden].map((place) => DATA.strategies[place]);
  const hidden = names.length || DATA.strategies.length <= FIRST_SHOWN ? names : "none";
  remember({ ...Object.fromEntries(labels), seed: state.seed, round: state.round, measure, hidden });
}

/** The choice in the address. Names that this page does not have are left out. */
function addressState() {
  const found = {};
  for (const [name, texts] of Object.entries(LABELS)) {
    const place = texts.indexOf(choices.get(name) ?? "");
    if (place >= 0 && choices.has(name)) found[name] = place;
  }
  if (choices.has("seed")) found.seed = choices.get("seed");
  if (choices.has("round")) found.round = Number(choices.get("round"));
  if (choices.get("measure") in MEASURES) found.measure = choices.get("measure");
  const hidden = choices.getAll("hidden").map((name) => DATA.strategies.indexOf(name));
  if (hidden.length) found.hidden = new Set(hidden.filter((place) => place >= 0));
  return found;
}

function runName() {
  const run = trustRun();
  return run ? `${cellName()}, seed ${run.seed}` : cellName();
}

/** The first attack to show: with a finished run and not a clean run, if there is one. */
function firstAttack() {
  const attacks = present("attack");
  const among = attacks.some(wasFinished) ? attacks.filter(wasFinished) : attacks;
  return among.find((attack) => !isClean(DATA.attacks[attack])) ?? among[0];
}

/** The strategies with runs under the chosen attack in the chosen setting, finished or not. */
const metStrategies = () =>
  present("strategy").filter((strategy) => begunRuns({ attack: state.attack, strategy }).length);

/** Change the choice to a cell with runs: a setting can lack attacks and strategies. */
function settle() {
  if (!present("attack").includes(state.attack)) state.attack = firstAttack();
  if (!cellRuns().length) {
    const met = metStrategies();
    state.strategy = met.find((strategy) => runsOf({ attack: state.attack, strategy }).length) ?? met[0];
  }
  if (!chosenRuns().length) state.seed = runsOf(state).length ? "" : String(cellRuns()[0].seed);
}

function fill(id, options, value) {
  byId(id).replaceChildren(...options.map(([key, text]) => element("option", { value: key }, text)));
  byId(id).value = value;
}

function fillChoices() {
  const settings = range(DATA.settings.length).filter((place) => DATA.runs.some((run) => run.setting === place));
  fill("setting", settings.map((place) => [place, DATA.settings[place] || "all runs share one"]), state.setting);
  byId("setting-label").hidden = settings.length < 2;
  fill("attack", present("attack").map((place) => [place, DATA.attacks[place]]), state.attack);
  fill("strategy", metStrategies().map((place) => [place, DATA.strategies[place]]), state.strategy);
  fillSeeds();
  const measured = Object.entries(MEASURES).filter(([name]) => DATA.runs.some((run) => last(run[name]) !== null));
  fill("measure", measured, state.measure);
}

function fillSeeds() {
  const ended = new Map(cellRuns().map((run) => [run.seed, run.complete]));
  const seeds = [...ended.keys()].sort((one, other) => one - other);
  const finished = runsOf(state).length;
  const all = finished < seeds.length ? `all ${finished} finished` : `all ${finished}`;
  const every = seeds.length > 1 && finished ? [["", all]] : [];
  const each = seeds.map((seed) => [seed, ended.get(seed) ? seed : `${seed}, not finished`]);
  fill("seed", [...every, ...each], every.length ? state.seed : state.seed || seeds[0]);
}

/** Draw every figure, for paper: in light colours and at the width of a page. */
function toPaper() {
  document.documentElement.classList.add("paper");
  dress("light");
  byId("common").open = true;
  listStrategies();
  for (const id of figures.keys()) stale.add(id);
  paint(figures.keys());
}

function toScreen() {
  document.documentElement.classList.remove("paper");
  dress(picked ?? (NIGHT.matches ? "dark" : "light"));
  listStrategies();
  repaint();
}

function listen() {
  for (const id of ["setting", "attack", "strategy"]) {
    byId(id).addEventListener("change", ({ target }) => change({ [id]: Number(target.value), round: null }));
  }
  byId("seed").addEventListener("change", ({ target }) => change({ seed: target.value, round: null }));
  byId("measure").addEventListener("change", ({ target }) => change({ measure: target.value }));
  byId("round").addEventListener("input", ({ target }) => change({ round: matrixRounds()[Number(target.value)] }));
  byId("choice").addEventListener("submit", (event) => event.preventDefault());
  for (const button of document.querySelectorAll("[data-run]")) {
    button.addEventListener("click", () => {
      const { setting, attack, strategy, seed } = DATA.runs[Number(button.dataset.run)];
      change({ setting, attack, strategy, seed: String(seed), round: null });
      byId("run").scrollIntoView({ behavior: CALM.matches ? "auto" : "smooth" });
      byId("run").focus({ preventScroll: true });
    });
  }
  byId("theme").addEventListener("click", () => {
    picked = isDark() ? "light" : "dark";
    toScreen();
  });
  NIGHT.addEventListener("change", toScreen);
  addEventListener("resize", () => requestAnimationFrame(repaint));
  addEventListener("beforeprint", toPaper);
  addEventListener("afterprint", toScreen);
}

/** Choose the first attack and a few strategies, and draw the figures in sight. */
function start() {
  dress(NIGHT.matches ? "dark" : "light");
  state.setting = DATA.runs[0].setting;
  state.attack = firstAttack();
  state.strategy = null;
  state.hidden = new Set(present("strategy").slice(FIRST_SHOWN));
  Object.assign(state, addressState());
  listen();
  sortTables();
  onAddress(() => change(addressState()));
  change({});
  figure("overview-figure", drawOverview);
  figure("classes-figure", drawCurves);
  figure("damage-figure", drawDamage);
  figure("run-classes-figure", drawRunClasses);
  figure("confusion-figure", drawConfusion);
  figure("trust-figure", drawTrust);
  figure("timings-figure", drawTimings);
  paintRest();
  showSection();
}

start();
