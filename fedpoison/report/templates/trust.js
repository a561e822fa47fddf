"use strict";
// Trust of the strategy in each client per round, for one run.

const DROPPED = -1;
const TWICE = 200;

/** The run of a figure that can show only one run: with the chosen seed, else with the first seed. */
const oneRun = () => chosenRuns()[0];

/** One run of the cell with a trust matrix, the chosen run first. */
const trustRun = () => chosenRuns().find((run) => run.ledger) ?? oneRun();

function trustNote(run) {
  if (!run) return "";
  if (!run.ledger) {
    return DATA.runs.some((other) => other.ledger)
      ? "The page contains no trust matrix of this run: its strategy reports no trust, or the report has too many runs."
      : "The strategy reports no trust.";
  }
  const { malicious, nodes, rounds, all_nodes: allNodes, all_rounds: allRounds } = run.ledger;
  const [caught, blamed, auroc, mass] = run.trust;
  const share = (value) => spell(value === null ? null : 100 * value, 0);
  return [
    malicious.length ? `${malicious.length} of these clients are malicious (▲); triangles mark the rounds in which they attacked.` : "No client is malicious.",
    caught === null ? "" : `While they attacked, the strategy rejected ${share(caught)} % of the malicious and ${share(blamed)} % of the honest clients (AUROC ${spell(auroc, 2)}), and gave the malicious ${share(mass)} % of the weight.`,
    nodes.length < allNodes ? `${nodes.length} of ${allNodes} clients are shown.` : "",
    rounds.length < allRounds ? `${rounds.length} of ${allRounds} rounds are shown.` : "",
  ].filter(Boolean).join(" ");
}

function describeTrust() {
  const run = trustRun();
  byId("trust-note").textContent = trustNote(run);
  byId("trust-table").hidden = !run?.ledger;
  if (!run?.ledger) return;
  const { nodes, malicious, shares: trust } = run.ledger;
  tabulate("trust-table", {
    caption: "Trust in each client over the rounds shown, per cent of an equal share; rejected means less than half of an equal share",
    head: ["Client", "Malicious", "Sampled", "Mean trust", "Rejected", "Dropped"],
    rows: nodes.map((node, place) => {
      const got = trust[place].filter((share) => share !== null && share !== DROPPED);
      const dropped = trust[place].filter((share) => share === DROPPED).length;
      return [
        String(node), malicious.includes(node) ? "▲ yes" : "no", String(got.length + dropped), spell(mean(got), 0),
        String(got.filter((share) => share < 50).length), String(dropped),
      ];
    }),
  });
}

function drawTrust(holder) {
  const run = trustRun();
  if (!run?.ledger) return clear(holder);
  const { rounds, nodes, malicious, shares: trust } = run.ledger;
  const bad = new Set(malicious);
  const dense = nodes.length > 60;
  const labels = nodes.map((node, place) =>
    (dense && place % Math.ceil(nodes.length / 40) ? "" : `${bad.has(node) ? "▲ " : ""}${node}`));
  const values = trust.map((row) => row.map((share) => (share === DROPPED ? null : share)));
  const hover = nodes.map((node) => rounds.map((round) =>
    `client ${node}, ${bad.has(node) ? "malicious" : "honest"}, round ${round}`));
  const cells = nodes.length * rounds.length;
  const edge = { type: "line", xref: "paper", x0: 0, x1: 1, y0: malicious.length - 0.5, y1: malicious.length - 0.5 };
  show(
    holder,
    `Heat map of the trust in ${nodes.length} clients in ${rounds.length} rounds; the table below sums it up`,
    [
      ...heat(values, {
        zmax: TWICE, numbers: false, customdata: hover, colorbar: { ...bar("%"), tickvals: [0, 50, 100, 150, 200], ticktext: ["0", "50", "100", "150", "200 +"] },
        xgap: rounds.length > 40 ? 0 : 1, ygap: dense ? 0 : 1,
        hovertemplate: "%{customdata}<br>%{z} % of an equal share<extra></extra>",
      }),
      marks(run.ledger, cells > 2500 ? 4 : 9),
      crosses(run.ledger),
    ],
    {
      height: Math.min(900, Math.max(220, 90 + nodes.length * 22)),
      xaxis: named(rounds.map(String), { title: "round", ...(rounds.length > 15 ? sparse(rounds) : {}), range: [-0.5, rounds.length - 0.5] }),
      yaxis: named(labels, { title: "client", range: [nodes.length - 0.5, -0.5] }),
      shapes: malicious.length && malicious.length < nodes.length ? [{ ...edge, line: { color: tone("ink"), width: 2, dash: "dot" } }] : [],
    },
  );
}

/** Triangles at the rounds in which a client attacked. */
function marks({ nodes, acting }, size) {
  const points = acting.flatMap((round, column) => round.map((node) => [column, nodes.indexOf(node)]));
  return {
    type: "scatter", mode: "markers", x: points.map(([column]) => column), y: points.map(([, row]) => row), hoverinfo: "skip",
    marker: { symbol: "triangle-up", size, color: "#ff9a4d", line: { color: "#1c1e21", width: 1 } },
  };
}

/** Crosses at replies that the server could not use. */
function crosses({ rounds, nodes, shares: trust }) {
  const points = nodes.flatMap((_, row) => rounds.map((__, column) => [column, row]))
    .filter(([column, row]) => trust[row][column] === DROPPED);
  return {
    type: "scatter", mode: "markers", x: points.map(([column]) => column), y: points.map(([, row]) => row),
    marker: { symbol: "x", size: 6, color: tone("ink") }, hovertemplate: "its reply could not be used<extra></extra>",
  };
}
