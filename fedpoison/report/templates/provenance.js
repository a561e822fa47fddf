"use strict";
// Scenario and environment of the chosen run.

function describeProvenance() {
  const run = oneRun();
  if (!run) return byId("provenance-run").replaceChildren();
  const { started, command, warnings } = run.made;
  const field = (name, value) => (value ? element("div", {}, element("dt", {}, name), element("dd", {}, value)) : null);
  const block = (title, text) => element("div", {}, element("h3", {}, title), element("pre", { tabindex: "0" }, text));
  const commandLine = Array.isArray(command) ? command.join(" ") : String(command ?? "");
  put(
    byId("provenance-run"),
    element("p", {}, `The run of ${cellName()} with seed ${run.seed}:`),
    element("dl", { class: "fields wide" },
      field("run id", element("code", {}, run.id)),
      field("rounds", `${last(run.rounds)} of ${run.planned}${run.complete ? "" : ", not finished"}`),
      field("failure", run.failure),
      field("started", started ? String(started) : ""),
      field("clean run", run.twin === null ? "" : element("code", {}, DATA.runs[run.twin].id))),
    element("p", {}, "Folder: ", element("code", {}, run.folder)),
    warnings?.length ? element("div", { class: "note" }, element("p", {}, `Warnings: ${warnings.join(" ")}`)) : null,
    element("div", { class: "provenance" },
      block("scenario.toml", run.scenario.map((place) => DATA.lines[place]).join("\n")),
      block("environment.json", (commandLine ? `command: ${commandLine}\n\n` : "") + DATA.environments[run.environment])),
  );
}
