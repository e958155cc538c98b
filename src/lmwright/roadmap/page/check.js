// A lab's last check: its properties in order, and the smallest case on which one fails.
import { command, h, many, moment, prose } from "./dom.js";

const SIGNS = { ok: ["✓", "holds"], wrong: ["✕", "does not hold"], waits: ["·", "waits"] };

export function checkPanel(lab) {
  const check = lab.check;
  if (!check) return false;
  const all = check.passed === check.of && check.of > 0;
  const failed = check.results.find((result) => result.failure)?.failure;
  return h(
    "section",
    { class: "check", "data-passed": all ? "yes" : "no", "aria-labelledby": "last-check" },
    h(
      "div",
      { class: "top" },
      h("h2", { id: "last-check" }, "Last check"),
      h("p", { class: "count" }, `${check.passed} of ${many(check.of, "property").replace("propertys", "properties")}`),
    ),
    h("p", { class: "small" }, facts(check, lab).join(" · ")),
    !failed && check.diagnosis && h("p", { class: "diagnosis" }, ...prose(`Your output equals ${check.diagnosis}.`)),
    !failed && check.problem && h("p", { class: "diagnosis" }, check.problem),
    properties(check.results.filter((result) => result.status !== "waits")),
    failed && failure(failed),
    waiting(check.results.filter((result) => result.status === "waits")),
    !all && [h("p", { class: "small" }, "The same cases again:"), command(check.again)],
  );
}

function facts(check, lab) {
  return [
    moment(check.time),
    many(lab.attempts, "attempt"),
    lab.hints > 0 && `hints to ${lab.hints}`,
    check.lines && many(check.lines, "line"),
    check.worst > 0 && `largest difference ${check.worst.toExponential(0)}`,
  ].filter(Boolean);
}

function properties(results) {
  return results.length > 0 && h("ol", { class: "properties" }, ...results.map(property));
}

/** What was not looked at yet: one thing at a time, and the rest for who wants to see it. */
function waiting(results) {
  if (results.length === 0) return false;
  const title = results.length === 1 ? "1 more property waits" : `${results.length} more properties wait`;
  return h("details", {}, h("summary", {}, title), properties(results));
}

function property(result) {
  const [sign, said] = SIGNS[result.status] ?? SIGNS.waits;
  return h(
    "li",
    { "data-status": result.status },
    h("span", { class: "sign", "aria-hidden": "true" }, sign),
    h("span", { class: "unseen" }, `${said}: `),
    h("span", { class: "says" }, ...prose(result.says)),
    result.cases > 0 && h("span", { class: "cases" }, many(result.cases, "case")),
  );
}

function failure(found) {
  return h(
    "div",
    { class: "failure" },
    found.diagnosis && h("p", { class: "diagnosis" }, ...prose(`Your output equals ${found.diagnosis}.`)),
    found.message && h("p", { class: "message" }, found.message, found.line && ` (${found.line})`),
    found.case.length > 0 && [
      h("h3", {}, "The smallest case on which it shows"),
      h("pre", { tabindex: "0" }, found.case.join("\n")),
    ],
    (found.yours || found.expected) &&
      h(
        "dl",
        {},
        found.yours && [h("dt", {}, found.where ? `yours, at ${found.where}` : "yours"), h("dd", {}, h("pre", { tabindex: "0" }, found.yours))],
        found.expected && [h("dt", {}, "expected"), h("dd", {}, h("pre", { tabindex: "0" }, found.expected))],
      ),
  );
}
