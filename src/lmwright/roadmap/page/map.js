// The map: stages and their topics along one line. Arrow keys walk it, Enter opens.
import { fill, h, many } from "./dom.js";

const STATES = { planned: "planned", ready: "can be run", ran: "ran here", met: "met" };
const WORDS = { none: "not begun", started: "begun", checked: "passed", built: "built" };

/** Draw the map; `current` is the id of the topic that is open. */
export function drawMap(nav, road, current) {
  const focused = nav.contains(document.activeElement) ? document.activeElement.id : null;
  fill(
    nav,
    nextLink(road),
    road.stages.map((stage) =>
      h(
        "section",
        { class: "stage", "aria-labelledby": `stage-${stage.id}` },
        h(
          "h2",
          { id: `stage-${stage.id}` },
          h("span", { class: "number", "aria-hidden": "true" }, stage.id),
          stage.title,
        ),
        h("ol", {}, ...stage.topics.map((topic) => h("li", {}, topicLink(topic, road, current)))),
      ),
    ),
    legend(),
  );
  const links = topicLinks(nav);
  const chosen = links.find((link) => link.id === focused) ?? links.find((link) => link.ariaCurrent === "true");
  walkTo(links, chosen ?? links[0], false);
  if (!focused) chosen?.scrollIntoView({ block: "nearest" });
  else document.getElementById(focused)?.focus({ preventScroll: true });
}

/** On a phone the map stands alone; this leads to what stands beside it elsewhere. */
function nextLink(road) {
  const lab = road.labs[road.next];
  return h(
    "a",
    { class: "next", href: "#next" },
    h("span", { class: "eyebrow" }, "What to do next"),
    h("span", {}, lab ? `${lab.id}, ${lab.minutes} minutes` : "Every lab is built"),
    road.problems.length > 0 && h("span", { class: "small" }, "Your record needs a look."),
  );
}

function topicLink(topic, road, current) {
  const labs = topic.labs.map((id) => road.labs[id]);
  const built = labs.filter((lab) => lab.word === "built").length;
  const said = [STATES[topic.state], labs.length && `${many(labs.length, "lab")}, ${built} built`];
  return h(
    "a",
    {
      class: "topic",
      id: `topic-${topic.id}`,
      href: `#${topic.id}`,
      "data-state": topic.state,
      "aria-current": topic.id === current ? "true" : null,
      tabindex: "-1",
    },
    h("span", { class: "node", "aria-hidden": "true" }),
    h("span", { class: "id" }, topic.id),
    h("span", { class: "title" }, topic.title),
    labs.length > 0 && h("span", { class: "pips", "aria-hidden": "true" }, ...labs.map(pip)),
    h("span", { class: "unseen" }, `: ${said.filter(Boolean).join("; ")}`),
  );
}

/** What the signs mean. Beside the map they are told in words, so listeners need no legend. */
function legend() {
  const topics = Object.entries(STATES).map(([state, said]) => [h("span", { class: "node" }), said, state]);
  const labs = Object.entries(WORDS).map(([word, said]) => [pip({ word }), said]);
  const row = (title, signs) =>
    h(
      "p",
      {},
      h("span", {}, title),
      ...signs.map(([sign, said, state]) => h("span", { class: "sign-of", "data-state": state }, sign, said)),
    );
  return h("div", { class: "legend", "aria-hidden": "true" }, row("topics", topics), row("labs", labs));
}

/** A lab as a small ring that fills. */
export function pip(lab) {
  return h("i", { class: "pip", "data-word": lab.word, "data-older": lab.older, title: lab.id && `${lab.id}: ${lab.told}` });
}

function topicLinks(nav) {
  return [...nav.querySelectorAll(".topic")];
}

/** Only one topic can be reached by Tab; the arrows move which one. */
function walkTo(links, link, focus = true) {
  for (const other of links) other.tabIndex = other === link ? 0 : -1;
  if (focus) link.focus();
}

/** Let the arrow keys, Home and End walk the topics. */
export function walkByKeys(nav) {
  nav.addEventListener("keydown", (event) => {
    const links = topicLinks(nav);
    const place = links.indexOf(document.activeElement);
    if (place < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const stages = links.map((link) => link.id.split(".")[0]);
    const last = links.length - 1;
    const ahead = stages.findIndex((stage, other) => other > place && stage !== stages[place]);
    const begin = stages.indexOf(stages[place]);
    const to = {
      ArrowDown: Math.min(place + 1, last),
      ArrowUp: Math.max(place - 1, 0),
      ArrowRight: ahead < 0 ? last : ahead,
      ArrowLeft: begin < place ? begin : stages.indexOf(stages[Math.max(place - 1, 0)]),
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    walkTo(links, links[to]);
  });
}
