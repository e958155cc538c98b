// How answers are sampled: the model's own values, and what the person changed, kept on this device.

const KEY = "lmwright.settings";
const API_KEY = "lmwright.key"; // apart from the settings, which can be reset
const NUMBERS = ["temperature", "top_p", "top_k", "max_tokens", "seed"];

export class Settings {
  #dialog = document.getElementById("settings");
  #form = document.getElementById("settings-form");
  #own = { system: "", temperature: 0, top_p: 1, top_k: 0, max_tokens: null, seed: null };
  #changed = read();
  #key = readText(API_KEY);
  #keyField = document.getElementById("key-field");

  constructor() {
    document.getElementById("settings-open").addEventListener("click", () => this.open());
    document.getElementById("settings-reset").addEventListener("click", () => this.#reset());
    this.#form.addEventListener("input", () => this.#take());
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close(); // the backdrop
    });
  }

  /** What the model recommends, once it is known. */
  set own(sampling) {
    this.#own = { ...this.#own, ...sampling };
  }

  /** The person's API key; "" if there is none. */
  get key() {
    return this.#key;
  }

  /** Whether the server asks for a key. */
  set needsKey(needed) {
    this.#keyField.hidden = !needed;
  }

  /** Open the drawer at the key, which is missing or wrong. */
  askForKey() {
    if (this.isOpen) return;
    this.needsKey = true;
    this.open();
    this.#form.elements.key.select();
  }

  /** Whether the drawer is open; it then has the keyboard. */
  get isOpen() {
    return this.#dialog.open;
  }

  get system() {
    return this.#value("system").trim();
  }

  /** Sampling fields of a request; only what is set. */
  get sampling() {
    const fields = NUMBERS.map((name) => [name, this.#value(name)]);
    return Object.fromEntries(fields.filter(([, value]) => value !== null));
  }

  open() {
    this.#fill();
    this.#dialog.showModal();
  }

  #value(name) {
    return this.#changed[name] ?? this.#own[name];
  }

  #fill() {
    for (const name of ["system", ...NUMBERS]) {
      this.#form.elements[name].value = this.#value(name) ?? "";
    }
    this.#form.elements.key.value = this.#key;
    this.#show();
  }

  #take() {
    for (const name of ["system", ...NUMBERS]) {
      const input = this.#form.elements[name];
      if (!input.checkValidity()) continue;
      const value = name === "system" ? input.value : input.value === "" ? null : Number(input.value);
      if (value === this.#own[name]) delete this.#changed[name];
      else this.#changed[name] = value;
    }
    const key = this.#form.elements.key;
    if (key.checkValidity() && key.value !== this.#key) {
      this.#key = key.value;
      writeText(API_KEY, this.#key);
    }
    write(this.#changed);
    this.#show();
  }

  #reset() {
    this.#changed = {};
    write(this.#changed);
    this.#fill();
  }

  #show() {
    for (const output of this.#form.querySelectorAll("output")) {
      output.textContent = Number(this.#form.elements[output.dataset.for].value).toFixed(2);
    }
  }
}

function read() {
  try {
    return JSON.parse(readText(KEY) || "{}") ?? {};
  } catch {
    return {};
  }
}

function write(changed) {
  writeText(KEY, JSON.stringify(changed));
}

function readText(name) {
  try {
    return localStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

function writeText(name, text) {
  try {
    localStorage.setItem(name, text);
  } catch {
    // Forbidden or full: the settings live as long as the page.
  }
}
