// Tokens per second, and the wait before the first.

/** How fast an answer came. */
export class Timing {
  usage = null;
  finish = null;
  #start = performance.now();
  #first = null;
  #last = null;
  #pieces = 0;

  take({ text, finish, usage }) {
    if (usage) this.usage = usage;
    if (finish) this.finish = finish;
    if (!text) return;
    this.#last = performance.now();
    this.#first ??= this.#last;
    this.#pieces += 1;
  }

  /** "42 tokens", "180 tokens/s": what is known. */
  words() {
    if (!this.#pieces) return [];
    const tokens = this.usage?.completion_tokens ?? this.#pieces;
    const words = [`${tokens} ${tokens === 1 ? "token" : "tokens"}`];
    // The first token's time is the prompt's, not the answer's; an answer that came in one burst tells
    // no speed.
    const seconds = (this.#last - this.#first) / 1000;
    const speed = seconds > 0.02 ? (this.#pieces - 1) / seconds : 0;
    if (this.#pieces >= 4 && speed > 0) {
      words.push(`${speed < 10 ? speed.toFixed(1) : Math.round(speed)} tokens/s`);
    }
    const wait = (this.#first - this.#start) / 1000;
    words.push(`first after ${wait < 1 ? `${Math.round(wait * 1000)} ms` : `${wait.toFixed(1)} s`}`);
    return words;
  }
}
