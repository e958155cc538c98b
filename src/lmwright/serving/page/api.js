// The server's API, as this page uses it.

/** What the server, or the way to it, said no to; the message is for the person. */
export class Failure extends Error {
  constructor(message, { code = null, retryAfter = null } = {}) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** What the page shows about the model: name, state, mode, questions, sampling. */
export async function config() {
  const response = await fetch("/page/config.json");
  if (!response.ok) throw await failure(response);
  return response.json();
}

/**
 * Stream an answer.
 *
 * @param {string} path - of the endpoint.
 * @param {object} body - the request; streaming and usage are added here.
 * @param {AbortSignal} signal - aborting it closes the connection, and the server stops generating.
 * @param {string} key - the person's API key, or "".
 * @yields {{text: string, finish: string|null, usage: object|null}}
 */
export async function* stream(path, body, signal, key) {
  const authorization = key ? { Authorization: `Bearer ${key}` } : {};
  const response = await reach(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...authorization },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  if (!response.ok) throw await failure(response);
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Failure(chunk.error.message, { code: chunk.error.code });
    const choice = chunk.choices[0];
    yield {
      text: choice?.delta?.content ?? choice?.text ?? "",
      finish: choice?.finish_reason ?? null,
      usage: chunk.usage ?? null,
    };
  }
  throw new Failure("The connection ended before the answer did.");
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server cannot be reached.", { code: "unreachable" });
  }
}

async function failure(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  try {
    const { error } = await response.json();
    return new Failure(error.message, { code: error.code, retryAfter });
  } catch {
    return new Failure(`The server answered ${response.status}.`, { retryAfter });
  }
}

/** The data of server-sent events; comments are skipped. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        if (block.startsWith("data: ")) yield block.slice("data: ".length);
      }
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The connection broke off.", { code: "unreachable" });
  } finally {
    // Also where the reader of this generator has had enough.
    reader.cancel().catch(() => {});
  }
}
