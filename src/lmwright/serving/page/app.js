// The chat page: one conversation with one model.

import { AnswerView, copy } from "./answer.js";
import * as api from "./api.js";
import { Conversation } from "./conversation.js";
import { Settings } from "./settings.js";
import { Timing } from "./timing.js";

const RETRY_MS = 1000; // between looks at a server that is not ready
const NEAR_END = 120; // pixels from the end within which the page follows the answer
const DOT = "\u00a0· "; // between facts; a line never begins with it
const WARMER = 0.7; // greedy repeats itself word for word: a second answer needs some chance

const $ = (id) => document.getElementById(id);
const conversation = Conversation.restore();
const settings = new Settings();
let model = { model: "", state: "connecting", mode: "chat", context_length: Infinity, needs_key: false };
let running = null; // the AbortController of the answer that is being generated

// ---------------------------------------------------------------- the model's state

async function look() {
  try {
    model = { ...model, ...(await api.config()) };
  } catch {
    model = { ...model, state: "unreachable" };
  }
  showModel();
  if (model.state !== "ready") setTimeout(look, RETRY_MS);
  else if (model.needs_key && !settings.key) settings.askForKey();
}

function showModel() {
  const { state, mode } = model;
  const words = { loading: "loading", draining: "shutting down", failed: "failed", stopped: "stopped" };
  $("model").dataset.state = state;
  $("model-name").textContent = model.model;
  $("model-state").textContent = state === "ready" ? "" : (words[state] ?? state);
  document.title = model.model ? `${model.model} · lmwright` : "lmwright";
  const completes = mode === "completion";
  $("greeting").textContent = completes ? "Begin a text, and the model goes on." : "What would you like to know?";
  $("prompt").placeholder = completes ? "Once upon a time" : "Ask anything";
  for (const field of document.querySelectorAll('[data-only="chat"]')) field.hidden = completes;
  const facts = [model.parameters && `${size(model.parameters)} parameters`, "runs on this computer"];
  if (!["localhost", "127.0.0.1", "[::1]"].includes(location.hostname)) facts.pop();
  $("about").textContent = state === "ready" ? facts.filter(Boolean).join(DOT) : "";
  if (model.sampling) settings.own = model.sampling;
  settings.needsKey = model.needs_key;
  showSuggestions(model.questions ?? []);
  showComposer();
}

function size(count) {
  const [unit, word] = count >= 1e9 ? [1e9, "billion"] : count >= 1e6 ? [1e6, "million"] : [1e3, "thousand"];
  const value = count / unit;
  return `${value >= 10 ? Math.round(value) : Math.round(value * 10) / 10} ${word}`;
}

function showSuggestions(questions) {
  const list = $("suggestions");
  if (list.childElementCount === questions.length) return;
  list.replaceChildren(
    ...questions.map((question) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = question;
      button.addEventListener("click", () => ask(question));
      item.append(button);
      return item;
    }),
  );
}

// ---------------------------------------------------------------- one exchange

function ask(question) {
  if (running || model.state !== "ready" || !question.trim()) return;
  const exchange = conversation.add(question.trim());
  const view = show(exchange);
  $("prompt").value = "";
  fitPrompt();
  $("prompt").focus();
  scrollToEnd();
  generate(exchange, view);
}

/** Put an exchange at the end of the page. */
function show(exchange) {
  const view = $("exchange").content.cloneNode(true).firstElementChild;
  view.querySelector(".question p").textContent = exchange.question;
  const button = view.querySelector(".tools .copy");
  button.addEventListener("click", async () => {
    if (!(await copy(exchange.answer))) return;
    button.classList.add("done");
    announce("Copied");
    setTimeout(() => button.classList.remove("done"), 1500);
  });
  view.querySelector(".again").addEventListener("click", () => regenerate(exchange, view));
  view.querySelector(".retry").addEventListener("click", () => generate(exchange, view));
  $("turns").append(view);
  showComposer();
  return view;
}

function regenerate(exchange, view) {
  const warm = (settings.sampling.temperature ?? 0) === 0;
  generate(exchange, view, warm ? { temperature: WARMER } : {});
}

async function generate(exchange, view, changes = {}) {
  if (running) return;
  running = new AbortController();
  const timing = new Timing();
  const answer = new AnswerView(view.querySelector(".answer"));
  Object.assign(exchange, { answer: "", complete: false, note: "" });
  view.querySelector(".failure").hidden = true;
  view.querySelector(".below").hidden = true;
  showComposer();
  announce("Answering");
  let failed = null;
  const notes = [];
  try {
    for await (const piece of pieces(exchange, changes, running.signal, notes)) {
      const following = atEnd();
      exchange.answer += piece.text;
      answer.push(piece.text);
      timing.take(piece);
      if (following) scrollToEnd();
    }
    exchange.complete = true;
  } catch (error) {
    if (error.name === "AbortError") notes.unshift("stopped");
    else failed = error;
  }
  answer.finish();
  running = null;
  if (timing.finish === "length") notes.push("longest answer reached");
  if (changes.temperature) notes.push(`temperature ${changes.temperature}`);
  exchange.note = [...timing.words(), ...notes].join(DOT);
  if (timing.usage) conversation.learn(exchange.answer.length, timing.usage.completion_tokens);
  conversation.save();
  finish(exchange, view, failed);
  announce(failed ? "" : exchange.answer);
}

/** The answer's pieces; earlier exchanges are left out until the model takes the prompt. */
async function* pieces(exchange, changes, signal, notes) {
  const sampling = { ...settings.sampling, ...changes };
  if (model.mode === "completion") {
    const body = { model: model.model, prompt: exchange.question, max_tokens: 128, ...sampling };
    yield* api.stream("/v1/completions", body, signal, settings.key);
    return;
  }
  const context = model.context_length;
  const room = Math.min(sampling.max_tokens ?? Infinity, context / 4);
  for (let leaveOut = 0; ; leaveOut = 1 + leaveOut) {
    const options = { system: settings.system, context, room, leaveOut };
    const { messages, left, answered } = conversation.messages(exchange, options);
    leaveOut = left;
    try {
      const body = { model: model.model, messages, ...sampling };
      for await (const piece of api.stream("/v1/chat/completions", body, signal, settings.key)) {
        if (left && !notes.length) notes.push("earliest turns left out, to make room");
        yield piece;
      }
      return;
    } catch (error) {
      if (error.code !== "context_length_exceeded" || left >= answered) throw error;
    }
  }
}

/** Show how an exchange ended. */
function finish(exchange, view, failed) {
  const failure = view.querySelector(".failure");
  failure.hidden = !failed;
  if (failed) {
    failure.querySelector("p").textContent = failed.message;
    if (failed.code === "unreachable" || failed.code === "loading") look();
    if (failed.code === "invalid_api_key") settings.askForKey();
  } else if (!exchange.answer.trim()) {
    const nothing = document.createElement("p");
    nothing.className = "nothing";
    nothing.textContent = exchange.complete ? "The model had nothing to say." : "Stopped before the first word.";
    view.querySelector(".answer").replaceChildren(nothing);
  }
  view.querySelector(".below").hidden = Boolean(failed) && !exchange.answer;
  view.querySelector(".meta").textContent = exchange.note;
  showComposer();
  if (atEnd()) scrollToEnd();
}

// ---------------------------------------------------------------- the composer and the page

function showComposer() {
  const empty = conversation.exchanges.length === 0;
  const hadFocus = [$("send"), $("stop")].includes(document.activeElement);
  $("welcome").hidden = !empty;
  $("new").hidden = empty;
  $("stop").hidden = !running;
  $("send").hidden = Boolean(running);
  $("send").disabled = model.state !== "ready" || !$("prompt").value.trim();
  for (const button of document.querySelectorAll(".again, .retry, .suggestions button")) {
    button.disabled = Boolean(running) || model.state !== "ready";
  }
  // A button that has just vanished must not take the keyboard with it.
  if (hadFocus) $("prompt").focus();
}

function fitPrompt() {
  const prompt = $("prompt");
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight}px`;
}

function announce(text) {
  $("announcer").textContent = text;
}

function atEnd() {
  const page = document.documentElement;
  return page.scrollHeight - page.clientHeight - window.scrollY < NEAR_END;
}

function scrollToEnd() {
  window.scrollTo(0, document.documentElement.scrollHeight);
}

function stop() {
  running?.abort();
}

function newChat() {
  stop();
  conversation.clear();
  $("turns").replaceChildren();
  showComposer();
  $("prompt").focus();
}

function switchTheme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const next = (root.dataset.theme ?? system) === "dark" ? "light" : "dark";
  if (next === system) delete root.dataset.theme;
  else root.dataset.theme = next;
  try {
    if (next === system) localStorage.removeItem("lmwright.theme");
    else localStorage.setItem("lmwright.theme", next);
  } catch {
    // Storage is forbidden: the choice lasts as long as the page.
  }
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  ask($("prompt").value);
});
$("prompt").addEventListener("input", () => {
  fitPrompt();
  showComposer();
});
$("prompt").addEventListener("keydown", (event) => {
  // Enter that ends an input method's composition belongs to the input method.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ask($("prompt").value);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running && !settings.isOpen) stop();
});
$("stop").addEventListener("click", stop);
$("new").addEventListener("click", newChat);
$("theme").addEventListener("click", switchTheme);
$("latest").addEventListener("click", () => {
  scrollToEnd();
  $("prompt").focus();
});
addEventListener("scroll", () => ($("latest").hidden = atEnd()), { passive: true });
new ResizeObserver(() => ($("latest").hidden = atEnd())).observe($("turns"));

for (const exchange of conversation.exchanges) {
  const view = show(exchange);
  const answer = new AnswerView(view.querySelector(".answer"));
  answer.push(exchange.answer);
  answer.finish();
  finish(exchange, view, exchange.answer ? null : new api.Failure("This question was not answered."));
}
showComposer();
if (conversation.exchanges.length) scrollToEnd();
if (matchMedia("(pointer: fine)").matches) $("prompt").focus();
look();
