"use strict";
// Filters of the leaderboard: which attacks count. The worst case of each strategy follows from the attacks left.

const BOARD = JSON.parse(byId("data").textContent);
const THREATS = ["untargeted", "targeted", "backdoor"];
const KNOWLEDGE = { own: 0, colluding: 1, omniscient: 2, rule: 3 };
const rowsOf = BOARD.strategies.flatMap((one) => [...one.clean, ...one.attacked]);
const SHARES = [...new Set(rowsOf.map((row) => row.share))].sort((one, other) => one - other);
const DATA_NAMES = [...new Set(rowsOf.map((row) => row.data))];
const FILTERS = {
  threat: ["Threat", [["", "any"], ...THREATS.map((name) => [name, name])]],
  share: ["Malicious", SHARES.map((share) => [String(share), `${Math.round(100 * share)} %`])],
  data: ["Data", [["", "worst of all"], ...DATA_NAMES.map((name) => [name, name])]],
  knows: ["Attacker sees", [
    ["", "anything, and the rule"], ["omniscient", "all updates"], ["colluding", "its clients' updates"], ["own", "one client's update"],
  ]],
};
let filter = {};

/** Texts of a measure [mean, its text, its text with the interval]. JavaScript would round halves in another way. */
const meanOf = (numbers) => numbers?.[1] ?? "-";
const spellOf = (numbers) => numbers?.[2] ?? "-";
const least = (rows, read) => rows.reduce((found, row) => (found === null || read(row) < read(found) ? row : found), null);

function readFilter() {
  const known = (name, value) => FILTERS[name][1].some(([key]) => key === value);
  const usual = { share: String(BOARD.headline), threat: "", data: "", knows: "" };
  filter = Object.fromEntries(Object.keys(FILTERS).map((name) => {
    const asked = choices.get(name);
    return [name, asked !== null && known(name, asked) ? asked : usual[name]];
  }));
}

/** The numbers of a strategy under the attacks that the filters leave. */
function measured(strategy) {
  const here = (row) => String(row.share) === filter.share && (!filter.data || row.data === filter.data);
  const clean = strategy.clean.filter(here);
  if (!clean.length) return { reason: strategy.undefined[filter.share] ?? "no results" };
  const allowed = (row) => !filter.knows || KNOWLEDGE[row.knows] <= KNOWLEDGE[filter.knows];
  const attacked = strategy.attacked.filter((row) => here(row) && allowed(row));
  const counted = attacked.filter((row) => !filter.threat || row.threat === filter.threat);
  const rows = filter.threat || filter.knows ? counted : [...counted, ...clean];
  const hit = (threat) => least(attacked.filter((row) => row.threat === threat && row.success), (row) => -row.success[0]);
  const aimed = filter.threat === "targeted" || filter.threat === "backdoor";
  const weakest = least(rows, (row) => row.accuracy[0]);
  return {
    clean: least(clean, (row) => row.accuracy[0]).accuracy,
    worst: weakest?.accuracy ?? null,
    class: least(rows, (row) => row.class[0])?.class ?? null,
    targeted: hit("targeted")?.success ?? null,
    backdoor: hit("backdoor")?.success ?? null,
    attack: aimed ? hit(filter.threat) : weakest,
  };
}

/** The number that decides the worst case: larger is better. */
function score(found) {
  const success = { targeted: found.targeted, backdoor: found.backdoor }[filter.threat];
  if (success !== undefined) return success ? -success[0] : null;
  return found.worst ? found.worst[0] : null;
}

function update() {
  const results = BOARD.strategies.map((strategy) => ({ name: strategy.name, ...measured(strategy) }));
  for (const found of results) found.score = found.reason ? null : score(found);
  const scored = results.filter((found) => found.score !== null);
  for (const found of results) {
    found.better = found.score === null ? [] : scored.filter((other) =>
      other.score >= found.score && other.clean[0] >= found.clean[0] && (other.score > found.score || other.clean[0] > found.clean[0]));
  }
  for (const found of results) fillRow(found);
  const table = sortables.get("strategies");
  const scores = new Map(results.map((found) => [found.name, found.score ?? -Infinity]));
  const scoreOf = (row) => scores.get(textOf(row.cells[0]));
  table.original.sort((one, other) => (scoreOf(one) === scoreOf(other) ? 0 : scoreOf(other) - scoreOf(one)));
  table.update();
  drawPlot(scored);
  const changed = Object.entries(filter).filter(([name, value]) => value !== (name === "share" ? String(BOARD.headline) : ""));
  byId("chosen").hidden = !changed.length;
  byId("chosen").textContent = changed.map(([name, value]) =>
    `${FILTERS[name][0]}: ${FILTERS[name][1].find(([key]) => key === value)[1]}`).join("; ");
}

function fillRow(found) {
  const row = sortables.get("strategies").original.find((each) => textOf(each.cells[0]) === found.name);
  const cell = (key) => row.cells[sortables.get("strategies").heads.findIndex((head) => head.dataset.key === key)];
  for (const key of ["worst", "clean", "class", "targeted", "backdoor"]) {
    const numbers = found.reason ? null : found[key];
    cell(key).textContent = key === "class" ? meanOf(numbers) : spellOf(numbers);
    cell(key).dataset.value = numbers ? numbers[0] : "";
  }
  cell("attack").textContent = found.reason ?? (found.attack ? `${found.attack.attack ?? "none"}, ${found.attack.data}` : "no reported attack");
  const [first, ...others] = found.better;
  cell("better").textContent = first ? `${first.name}${others.length ? ` and ${others.length} more` : ""}` : "";
}

function drawPlot(scored) {
  const aimed = filter.threat === "targeted" || filter.threat === "backdoor";
  scatter(byId("plot-figure"), scored.map((found) => ({
    name: found.name, x: Math.abs(100 * found.score), y: 100 * found.clean[0], front: !found.better.length,
    note: `${meanOf(found.clean)} % without attack, ${aimed ? "success" : "worst case"} ${meanOf(aimed ? found[filter.threat] : found.worst)} %`,
  })), {
    title: aimed ? `highest success of ${filter.threat} attacks, % (small is better)` : "worst-case accuracy, %",
    label: `Accuracy without attack against the worst case of ${scored.length} strategies; the table above shows the numbers`,
    turned: aimed,
    pick: (name) => {
      for (const row of sortables.get("strategies").original) {
        const chosen = textOf(row.cells[0]) === name;
        row.classList.toggle("picked", chosen);
        if (chosen) row.scrollIntoView({ block: "center", behavior: CALM.matches ? "auto" : "smooth" });
      }
    },
  });
}

function fillBar() {
  put(byId("filters"), ...Object.entries(FILTERS).map(([name, [title, options]]) =>
    choice(title, options, filter[name], (value) => {
      filter[name] = value;
      remember({ [name]: name === "share" && value === String(BOARD.headline) ? null : value });
      update();
    })));
}

function show() {
  readFilter();
  fillBar();
  update();
}

dress(NIGHT.matches ? "dark" : "light");
byId("theme").addEventListener("click", () => dress(picked = isDark() ? "light" : "dark"));
NIGHT.addEventListener("change", () => dress(picked ?? (NIGHT.matches ? "dark" : "light")));
addEventListener("beforeprint", () => dress("light"));
addEventListener("afterprint", () => dress(picked ?? (NIGHT.matches ? "dark" : "light")));
byId("filters").addEventListener("submit", (event) => event.preventDefault());
if (BOARD.strategies.length) {
  sortTables();
  onAddress(show);
  show();
  addEventListener("resize", () => requestAnimationFrame(update));
}
showSection();
