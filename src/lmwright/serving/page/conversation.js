// What was said, and what of it the model is shown. Kept for this tab, so that a reload loses nothing.

const KEY = "lmwright.conversation";
const TURN_TOKENS = 6; // markup around a message
const CHARACTERS_PER_TOKEN = 2.5; // until an answer has shown better; a small vocabulary's rate

/** @typedef {{question: string, answer: string, complete: boolean, note: string}} Exchange */

export class Conversation {
  /** @type {Exchange[]} */
  exchanges = [];
  #charactersPerToken = CHARACTERS_PER_TOKEN;

  /** The conversation of this tab, if there is one. */
  static restore() {
    const conversation = new Conversation();
    try {
      const saved = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
      conversation.exchanges = saved.filter((e) => typeof e?.question === "string");
    } catch {
      // Storage is forbidden, or holds something else: start with nothing.
    }
    return conversation;
  }

  save() {
    try {
      sessionStorage.setItem(KEY, JSON.stringify(this.exchanges));
    } catch {
      // Full or forbidden: the conversation lives as long as the page.
    }
  }

  clear() {
    this.exchanges = [];
    this.save();
  }

  /** @returns {Exchange} */
  add(question) {
    const exchange = { question, answer: "", complete: false, note: "" };
    this.exchanges.push(exchange);
    return exchange;
  }

  /** Learn from a finished answer how long this model's tokens are. */
  learn(characters, tokens) {
    if (tokens >= 8) this.#charactersPerToken = Math.max(1, characters / tokens);
  }

  /**
   * Messages that end with `exchange`'s question; the earliest exchanges are left out where they
   * would leave no room for the answer, or because the server said so.
   *
   * @returns {{messages: object[], left: number}} and how many exchanges were left out.
   */
  messages(exchange, { system, context, room, leaveOut = 0 }) {
    const before = this.exchanges.slice(0, this.exchanges.indexOf(exchange));
    // An unanswered question is nothing that the model has to remember.
    let history = before.filter((e) => e.answer).slice(leaveOut);
    const build = () => [
      ...(system ? [{ role: "system", content: system }] : []),
      ...history.flatMap((e) => [
        { role: "user", content: e.question },
        { role: "assistant", content: e.answer },
      ]),
      { role: "user", content: exchange.question },
    ];
    while (history.length && this.#tokens(build()) + room > context) history = history.slice(1);
    const answered = before.filter((e) => e.answer).length;
    return { messages: build(), left: answered - history.length, answered };
  }

  #tokens(messages) {
    const characters = messages.reduce((sum, message) => sum + message.content.length, 0);
    return characters / this.#charactersPerToken + TURN_TOKENS * messages.length;
  }
}
