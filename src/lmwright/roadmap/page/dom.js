// Elements from data. Everything becomes text; the one exception is a specification's own HTML.

/** An element: `h("a", {href: "#2.4", class: "x"}, "text", child, ...)`. Empty children are left out. */
export function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...present(children));
  return made;
}

/** Put these in the place of all that `place` holds. */
export function fill(place, ...children) {
  place.replaceChildren(...present(children));
}

function present(children) {
  return children.flat(Infinity).filter((child) => child || child === 0);
}

/** Text in which `backticks` make code. */
export function prose(text) {
  return text.split("`").map((piece, place) => (place % 2 ? h("code", {}, piece) : piece));
}

/** A command line with a button that copies it. */
export function command(line) {
  const button = h("button", { type: "button", class: "copy", "aria-label": `Copy: ${line}` }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(line);
    } catch {
      return; // the browser forbids it; the line can be selected
    }
    button.textContent = "Copied";
    announce("Copied");
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return h("div", { class: "command" }, h("code", { tabindex: "0" }, line), button);
}

/** Say something to those who listen to the page. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

export function many(count, thing) {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}

/** "28 November, 19:20", in the reader's language and zone. */
export function moment(time) {
  const options = { day: "numeric", month: "long", hour: "2-digit", minute: "2-digit" };
  return new Intl.DateTimeFormat(undefined, options).format(new Date(time));
}
