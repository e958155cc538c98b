// The right-hand side: what to do next, a topic, or a lab.
import { checkPanel } from "./check.js";
import { command, fill, h, prose } from "./dom.js";
import { pip } from "./map.js";

const STATES = {
  planned: "Planned",
  ready: "Can be run",
  ran: "Ran here",
  met: "Met",
};

/** The page without a topic: what to do next. */
export function drawNext(place, road) {
  const lab = road.labs[road.next];
  const begun = Object.values(road.labs).filter((other) => other.word === "started" && other.id !== road.next);
  const passed = Object.values(road.labs).filter((other) => other.word === "checked" && other.id !== road.next);
  fill(
    place,
    problems(road),
    h(
      "header",
      {},
      h("p", { class: "eyebrow" }, "The road"),
      heading(lab ? "What to do next" : "You have walked it all"),
      h(
        "p",
        { class: "lead" },
        lab
          ? "Write one part of a language model by hand; it is held against the real one, and then it takes its place."
          : "Every lab there is so far is built. Train, serve and measure a model of nothing but your own parts.",
      ),
    ),
    lab
      ? h("section", { class: "hero" }, labHead(lab), h("p", { class: "what" }, `${lab.to_do}:`), command(lab.command))
      : command("lmwright run quickstart --use mine"),
    !road.begun && [
      h("h2", {}, "New here?"),
      h("p", {}, "From text to a chat model of your own, in minutes, on this computer:"),
      command("lmwright run quickstart"),
    ],
    group("Under way", begun),
    group("Passed, not yet built", passed),
  );
}

function group(title, labs) {
  return labs.length > 0 && [h("h2", {}, title), labCards(labs)];
}

/** One topic. */
export function drawTopic(place, topic, road) {
  const stage = road.stages.find((other) => other.topics.includes(topic));
  fill(
    place,
    problems(road),
    h(
      "header",
      {},
      h("p", { class: "eyebrow" }, `${stage.title} · ${topic.id}`),
      heading(capital(topic.title)),
      h("p", { class: "lead" }, `It works when: ${topic.works}.`),
      h("p", { class: "chips" }, h("span", { class: "chip", "data-state": topic.state }, STATES[topic.state])),
    ),
    topic.note && h("p", { class: "note" }, ...prose(topic.note)),
    topic.needs.length > 0 && [h("h2", {}, "Know before"), topicList(topic.needs, road)],
    topic.read.length > 0 && [
      h("h2", {}, "Read"),
      h("ul", { class: "paths" }, ...topic.read.map((path) => h("li", {}, h("code", {}, `lmwright/${path}`)))),
    ],
    topic.how && [
      h("h2", {}, "Run"),
      command(topic.how),
      topic.proof && h("p", { class: "small" }, ...prose(`Met when ${topic.proof}.`)),
      topic.ran && h("p", { class: "small" }, `Ran as ${topic.ran}.`),
    ],
    topic.labs.length > 0 && [h("h2", {}, "Write it yourself"), labCards(topic.labs.map((id) => road.labs[id]))],
    topic.leads_to.length > 0 && [h("h2", {}, "Leads to"), topicList(topic.leads_to, road)],
  );
}

function topicList(ids, road) {
  const all = road.stages.flatMap((stage) => stage.topics);
  return h(
    "ul",
    { class: "topics" },
    ...ids.map((id) => {
      const topic = all.find((other) => other.id === id);
      return h("li", {}, h("a", { href: `#${id}` }, h("span", { class: "id" }, id), h("span", { class: "title" }, topic.title)));
    }),
  );
}

function labCards(labs) {
  return h("ul", { class: "cards" }, ...labs.map((lab) => h("li", { class: "card" }, labHead(lab))));
}

function labHead(lab) {
  return h(
    "a",
    { class: "lab", href: `#lab/${lab.id}` },
    pip(lab),
    h("span", { class: "name" }, lab.id),
    h("span", { class: "minutes" }, `${lab.minutes} min`),
    h("span", { class: "about" }, lab.title),
    h("span", { class: "told", "data-older": lab.older }, lab.told),
  );
}

/** One lab: what is left to do, its last check, what it asks. */
export function drawLab(place, lab, road) {
  const spec = h("article", { class: "spec" });
  spec.innerHTML = lab.spec; // made from Markdown by the server, which lets no HTML through
  for (const title of spec.querySelectorAll("h1")) title.remove(); // it stands above already
  for (const block of spec.querySelectorAll("pre")) block.tabIndex = 0; // scrolled by keys
  fill(
    place,
    problems(road),
    h(
      "header",
      {},
      h(
        "p",
        { class: "eyebrow" },
        "Lab",
        ...lab.topics.flatMap((id) => [" · ", h("a", { href: `#${id}` }, id)]),
        ` · ${lab.minutes} minutes`,
      ),
      heading(lab.id),
      h("p", { class: "lead" }, `${capital(lab.title)}.`),
      steps(lab),
      !["not begun", lab.word].includes(lab.told) && h("p", { class: "small", "data-older": lab.older }, `${capital(lab.told)}.`),
    ),
    h("section", { class: "hero" }, h("p", { class: "what" }, `${lab.to_do}:`), command(lab.command)),
    checkPanel(lab),
    h("h2", {}, "What is asked"),
    h("p", { class: "small" }, "Yours takes the place of ", h("code", {}, lab.target), "."),
    spec,
  );
}

/** The way of a lab: begun, checked, its twist, its tests, used. */
function steps(lab) {
  const passed = ["checked", "built"].includes(lab.word);
  const done = [
    ["begun", lab.word !== "none"],
    ["check", passed],
    ["twist", lab.twist],
    ["own tests", lab.tests],
    ["used", lab.used],
  ];
  return h(
    "ol",
    { class: "steps", "aria-label": "How far" },
    ...done.map(([name, is]) =>
      h("li", { "data-done": is ? "yes" : "no" }, name, h("span", { class: "unseen" }, is ? ", done" : ", to do")),
    ),
  );
}

/** Something went wrong with the files, or the server is gone. */
export function drawTrouble(place, error) {
  const gone = error instanceof TypeError;
  fill(
    place,
    heading(gone ? "The road is out of reach" : "Something is wrong"),
    h("p", { class: "lead" }, gone ? "Its server has stopped. Start it again; this page comes back by itself." : error.message),
    gone ? command("lmwright roadmap --serve") : h("p", {}, h("a", { href: "#" }, "Back to the road")),
  );
}

function problems(road) {
  return (
    road.problems.length > 0 &&
    h("ul", { class: "problems", role: "note", "aria-label": "Your record" }, ...road.problems.map((text) => h("li", {}, text)))
  );
}

function heading(text) {
  return h("h1", { tabindex: "-1" }, text);
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
