// Model text on the page: always text nodes, never markup. Fenced code gets a box of its own.

const MAY_BE_FENCE = /^ {0,3}(`{0,2}|```[^`]*)$/;
const FENCE = /^ {0,3}```([^`]*)$/;
const CLOSING_FENCE = /^ {0,3}```\s*$/;
const INLINE_CODE = /`([^`\n]+)`/;

/** Grows with the answer; a line that may yet become a fence is held back until it is decided. */
export class AnswerView {
  #root;
  #node = null; // the text node that grows
  #code = false;
  #line = "";
  #held = true;

  /** @param {HTMLElement} root - emptied, and filled with the answer. */
  constructor(root) {
    this.#root = root;
    root.replaceChildren();
    root.classList.add("streaming");
  }

  /** Take the next piece of text. */
  push(piece) {
    piece.split("\n").forEach((part, index) => {
      if (index > 0) this.#endLine();
      if (part) this.#extendLine(part);
    });
  }

  /** The answer is over. */
  finish() {
    if (this.#held && this.#line && !(this.#code && CLOSING_FENCE.test(this.#line))) {
      this.#append(this.#line);
    }
    this.#endBlock();
    for (const paragraph of this.#root.querySelectorAll(".text")) markInlineCode(paragraph);
    this.#root.classList.remove("streaming");
  }

  #extendLine(part) {
    this.#line += part;
    if (!this.#held) {
      this.#append(part);
    } else if (!MAY_BE_FENCE.test(this.#line)) {
      this.#held = false;
      this.#append(this.#line);
    }
  }

  #endLine() {
    if (!this.#held) {
      this.#append("\n");
    } else if ((this.#code ? CLOSING_FENCE : FENCE).test(this.#line)) {
      this.#endBlock();
      this.#code = !this.#code;
      if (this.#code) this.#beginCode(FENCE.exec(this.#line)[1].trim());
    } else {
      this.#append(`${this.#line}\n`);
    }
    this.#line = "";
    this.#held = true;
  }

  #append(text) {
    if (!this.#node) {
      text = text.replace(/^\n+/, "");
      if (!text) return;
      const paragraph = document.createElement("p");
      paragraph.className = "text";
      this.#node = paragraph.appendChild(document.createTextNode(""));
      this.#root.append(paragraph);
    }
    this.#node.appendData(text);
  }

  #beginCode(language) {
    const figure = document.getElementById("code").content.cloneNode(true).firstElementChild;
    figure.querySelector(".language").textContent = language || "text";
    const code = figure.querySelector("code");
    this.#node = code.appendChild(document.createTextNode(""));
    figure.querySelector(".copy").addEventListener("click", async (event) => {
      const button = event.currentTarget;
      const copied = await copy(code.textContent);
      button.textContent = copied ? "Copied" : "Not allowed";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
    this.#root.append(figure);
  }

  #endBlock() {
    if (this.#node) this.#node.data = this.#node.data.trimEnd();
    this.#node = null;
  }
}

function markInlineCode(paragraph) {
  let node = paragraph.firstChild;
  for (;;) {
    const found = INLINE_CODE.exec(node.data);
    if (!found) return;
    const quoted = node.splitText(found.index);
    node = quoted.splitText(found[0].length);
    const code = document.createElement("code");
    code.textContent = found[1];
    quoted.replaceWith(code);
  }
}

/** Put text on the clipboard; false where that is forbidden. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyOldWay(text); // plain HTTP from another machine has no clipboard object
  }
}

function copyOldWay(text) {
  const area = document.createElement("textarea");
  const focused = document.activeElement;
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return copied;
}
