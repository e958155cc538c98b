// The page: what the address names is shown, and shown anew whenever the record has changed.
import { drawLab, drawNext, drawTopic, drawTrouble } from "./detail.js";
import { announce, h, many } from "./dom.js";
import { drawMap, walkByKeys } from "./map.js";

const LOOK_AGAIN_MS = 4000;

const $ = (id) => document.getElementById(id);
const seen = { road: "", lab: "" };
let road = null;

// ---------------------------------------------------------------- what is asked

/** Fetch JSON as text, so that it can be compared with what is shown. */
async function ask(path) {
  const answer = await fetch(path);
  const text = await answer.text();
  if (!answer.ok) throw new Error(said(text));
  return text;
}

function said(text) {
  try {
    const { error } = JSON.parse(text);
    return error.message ?? error;
  } catch {
    return "The server failed; the terminal in which it runs says why.";
  }
}

/** What the address names: `#`, `#2.4`, or `#lab/attention`. */
function place() {
  const name = decodeURIComponent(location.hash.slice(1));
  return name.startsWith("lab/") ? { lab: name.slice(4) } : { topic: name };
}

// ---------------------------------------------------------------- what is shown

/** Look, and draw what has changed; all of it if `anew`. */
async function show({ anew = false } = {}) {
  const { lab, topic } = place();
  try {
    const texts = [await ask("/road.json"), lab ? await ask(`/labs/${encodeURIComponent(lab)}.json`) : ""];
    if (!anew && texts[0] === seen.road && texts[1] === seen.lab) return;
    [seen.road, seen.lab] = texts;
    road = JSON.parse(seen.road);
    draw(lab ? JSON.parse(seen.lab) : null, topic);
  } catch (error) {
    seen.road = "";
    document.body.dataset.view = "detail";
    drawTrouble($("detail"), error);
  }
}

function draw(lab, id) {
  const topic = topicOf(id);
  document.body.dataset.view = lab || id ? "detail" : "map";
  drawMap($("map"), road, lab ? lab.topics[0] : topic?.id);
  drawProgress();
  if (lab) drawLab($("detail"), lab, road);
  else if (topic) drawTopic($("detail"), topic, road);
  else drawNext($("detail"), road);
  document.title = `${lab?.id ?? topic?.title ?? "The road"} · lmwright`;
}

function topicOf(id) {
  return road.stages.flatMap((stage) => stage.topics).find((topic) => topic.id === id);
}

/** One segment for each lab. */
function drawProgress() {
  const labs = Object.values(road.labs);
  const built = labs.filter((lab) => lab.word === "built").length;
  const passed = labs.filter((lab) => lab.word === "checked").length;
  const said = `${built} of ${many(labs.length, "lab")} built${passed ? `, ${passed} passed` : ""}`;
  $("progress").setAttribute("aria-label", said);
  $("progress").replaceChildren(
    h("span", { class: "segments" }, ...labs.map((lab) => h("i", { "data-word": lab.word }))),
    h("span", { class: "said" }, said),
  );
}

// ---------------------------------------------------------------- moving about

/** After a move the reader is at the top of what is new. */
async function moved() {
  await show({ anew: true });
  const heading = $("detail").querySelector("h1");
  const shown = document.body.dataset.view === "detail";
  if (shown) heading?.focus({ preventScroll: true });
  $("detail").scrollTop = 0;
  scrollTo(0, shown ? 0 : (moved.map ?? 0));
  announce(heading?.textContent ?? "");
}

function backToMap() {
  const current = $("map").querySelector("[aria-current]");
  if (matchMedia("(max-width: 56rem)").matches) {
    history.replaceState(null, "", "#");
    moved().then(() => $(current?.id)?.focus());
  } else current?.focus();
}

addEventListener("hashchange", moved);
addEventListener("scroll", () => {
  if (document.body.dataset.view === "map") moved.map = scrollY; // on a phone: where to come back to
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && $("detail").contains(document.activeElement)) backToMap();
});
addEventListener("visibilitychange", () => document.hidden || show());
setInterval(() => document.hidden || show(), LOOK_AGAIN_MS);
$("back").addEventListener("click", backToMap);
$("skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("detail").querySelector("h1")?.focus();
});
walkByKeys($("map"));
show({ anew: true });
