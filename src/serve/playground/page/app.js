// The playground: chat, sampling controls, live plots. No library, no request to anywhere but this server.
// Text from the model reaches the page through textContent alone.

const $ = (id) => document.getElementById(id);

// An element with properties and children; strings become text nodes.
function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  Object.assign(node, props);
  node.append(...children);
  return node;
}

const store = {
  get(key) { try { return localStorage.getItem("lathe." + key); } catch { return null; } },
  set(key, value) { try { localStorage.setItem("lathe." + key, value); } catch { /* private window */ } },
};

// ---------------------------------------------------------------- markdown

// A small, safe part of Markdown as nodes: code blocks, headings, lists, rules, paragraphs; inside them code,
// bold, italic. Anything else stays as it is written.
const kBlock = {
  fence: /^\s{0,3}(```+|~~~+)\s*([\w+#.-]*)\s*$/,
  heading: /^(#{1,6})\s+(.*)$/,
  rule: /^\s{0,3}([-*_])(\s*\1){2,}\s*$/,
  item: /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/,
};

function inline(parent, text) {
  const pattern = /(`+)([^`]|[^`].*?[^`])\1(?!`)|\*\*(\S|\S.*?\S)\*\*|(?<![\w*])\*([^\s*]|[^\s*][^*\n]*?[^\s*])\*(?![\w*])/gs;
  let at = 0;
  for (const match of text.matchAll(pattern)) {
    parent.append(text.slice(at, match.index));
    at = match.index + match[0].length;
    if (match[1]) parent.append(el("code", { textContent: match[2] }));
    else if (match[3] !== undefined) inline(parent.appendChild(el("strong")), match[3]);
    else inline(parent.appendChild(el("em")), match[4]);
  }
  parent.append(text.slice(at));
  return parent;
}

function codeBlock(language, text) {
  const head = el("div", {}, el("span", { textContent: language || "code" }));
  if (navigator.clipboard) head.append(copyButton(() => text));
  return el("div", { className: "code" }, head, el("pre", { tabIndex: 0 }, el("code", { textContent: text })));
}

function list(lines, from) {
  const ordered = /\d/.test(kBlock.item.exec(lines[from])[2]);
  const node = el(ordered ? "ol" : "ul");
  if (ordered) node.start = parseInt(kBlock.item.exec(lines[from])[2], 10);
  const base = kBlock.item.exec(lines[from])[1].length;
  let at = from;
  while (at < lines.length) {
    const match = kBlock.item.exec(lines[at]);
    if (match && match[1].length <= base + 1) {
      if (/\d/.test(match[2]) !== ordered || match[1].length < base) break;
      inline(node.appendChild(el("li")), match[3]);
      at++;
    } else if (match && node.lastChild && match[1].length < 40) {
      const [inner, next] = list(lines, at);
      node.lastChild.append(inner);
      at = next;
    } else if (lines[at].trim() && /^\s/.test(lines[at]) && node.lastChild) {
      inline(node.lastChild, "\n" + lines[at].trim());
      at++;
    } else if (!lines[at].trim() && kBlock.item.test(lines[at + 1] || "")) {
      at++;
    } else {
      break;
    }
  }
  return [node, Math.max(at, from + 1)];
}

function markdown(text) {
  const out = document.createDocumentFragment();
  const lines = text.split("\n");
  let paragraph = [];
  const flush = () => {
    if (paragraph.length) out.append(inline(el("p"), paragraph.join("\n")));
    paragraph = [];
  };
  for (let i = 0; i < lines.length;) {
    const line = lines[i];
    const fence = kBlock.fence.exec(line);
    const heading = kBlock.heading.exec(line);
    if (fence) {
      flush();
      const end = lines.findIndex((l, k) => k > i && l.trim().startsWith(fence[1]) && !l.trim().slice(fence[1].length).trim());
      out.append(codeBlock(fence[2], lines.slice(i + 1, end < 0 ? undefined : end).join("\n")));
      i = end < 0 ? lines.length : end + 1;
      continue;
    }
    if (heading || kBlock.rule.test(line)) {
      flush();
      out.append(heading ? inline(el("h3"), heading[2]) : el("hr"));
    } else if (kBlock.item.test(line)) {
      flush();
      const [node, next] = list(lines, i);
      out.append(node);
      i = next;
      continue;
    } else if (!line.trim()) {
      flush();
    } else {
      paragraph.push(line);
    }
    i++;
  }
  flush();
  return out;
}

function copyButton(text) {
  const button = el("button", { type: "button", className: "link", textContent: "Copy" });
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1200);
  });
  return button;
}

// ---------------------------------------------------------------- theme and panel

const dark = matchMedia("(prefers-color-scheme: dark)");
if (store.get("theme")) document.documentElement.dataset.theme = store.get("theme");
$("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  store.set("theme", next);
});

// On narrow screens the panel lies over the chat, which cannot be reached meanwhile.
function setPanel(open) {
  document.body.classList.toggle("panel", open);
  $("panel-open").setAttribute("aria-expanded", String(open));
  $("main").inert = open;
  (open ? $("panel-close") : $("panel-open")).focus();
}
const panelIsOpen = () => document.body.classList.contains("panel");
$("panel-open").addEventListener("click", () => setPanel(true));
$("panel-close").addEventListener("click", () => setPanel(false));
document.addEventListener("click", (event) => { if (panelIsOpen() && event.target === document.body) setPanel(false); });
matchMedia("(min-width: 60.01rem)").addEventListener("change", () => { if (panelIsOpen()) setPanel(false); });

// ---------------------------------------------------------------- sampling

const kControls = [
  { key: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05, at: 1 },
  { key: "top_p", label: "Top P", min: 0.05, max: 1, step: 0.05, at: 1 },
  { key: "top_k", label: "Top K", min: 0, max: 200, step: 1, at: 0 },
  { key: "min_p", label: "Min P", min: 0, max: 1, step: 0.01, at: 0 },
  { key: "repetition_penalty", label: "Repetition penalty", min: 0.5, max: 2, step: 0.05, at: 1 },
  { key: "max_tokens", label: "Longest answer, tokens", min: 1, step: 1 },
  { key: "seed", label: "Seed", min: 0, step: 1 },
];

function buildControls() {
  let saved = {};
  try { saved = JSON.parse(store.get("sampling")) || {}; } catch { /* written by hand */ }
  for (const control of kControls) {
    const id = "s-" + control.key;
    const number = el("input", { id, type: "number", min: control.min, step: control.step, placeholder: "auto", inputMode: "decimal" });
    if (control.max !== undefined) number.max = control.max;
    const row = el("div", { className: "control" }, el("label", { htmlFor: id, textContent: control.label }), number);
    control.number = number;
    control.show = () => {
      row.classList.toggle("unset", number.value === "");
      if (control.range) control.range.value = number.value === "" ? control.at : number.value;
    };
    if (control.at === undefined) {
      row.classList.add("single");
    } else {
      control.range = el("input", { type: "range", min: control.min, max: control.max, step: control.step });
      control.range.setAttribute("aria-label", control.label);
      control.range.addEventListener("input", () => { number.value = control.range.value; control.show(); saveSampling(); });
      row.append(control.range);
    }
    if (typeof saved[control.key] === "number") number.value = saved[control.key];
    number.addEventListener("input", () => { control.show(); saveSampling(); });
    control.show();
    $("sampling").append(row);
  }
  $("system").value = store.get("system") || "";
  $("system").addEventListener("input", () => store.set("system", $("system").value));
  $("reset").addEventListener("click", () => {
    for (const control of kControls) { control.number.value = ""; control.show(); }
    saveSampling();
  });
}

// Only what was set: the server knows the model's own defaults.
function sampling() {
  const out = {};
  for (const { key, number } of kControls) {
    if (number.value !== "" && Number.isFinite(number.valueAsNumber)) out[key] = number.valueAsNumber;
  }
  return out;
}
const saveSampling = () => store.set("sampling", JSON.stringify(sampling()));

// ---------------------------------------------------------------- the server

let model = "";
let plainText = false;  // the model has no chat template

class ServerError extends Error {
  constructor(status, body, retryAfter) {
    super((body && body.message) || "HTTP status " + status);
    this.status = status;
    this.code = body && body.code;
    this.retryAfter = retryAfter;
  }
}

// Full addresses: a page opened with a name and key in its address may not fetch relative ones.
const at = (path) => location.origin + path;

async function fault(response) {
  let body = null;
  try { body = (await response.json()).error; } catch { /* not JSON */ }
  return new ServerError(response.status, body, Number(response.headers.get("Retry-After")) || 0);
}

function explain(error) {
  const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  if (!(error instanceof ServerError)) return "The connection to the server was lost. Is it still running?";
  if (error.status === 401 || error.status === 403) {
    return "The server wants an API key. Reload the page and sign in: any name, and the key as the password.";
  }
  if (error.status === 429) return `The server has no room for this now: ${error.message}.${wait || " Try again soon."}`.replace("..", ".");
  if (error.status === 503) return `The server does not take requests now: ${error.message}.${wait}`.replace("..", ".");
  return error.message.charAt(0).toUpperCase() + error.message.slice(1);
}

async function loadModel() {
  try {
    const response = await fetch(at("/v1/models"));
    if (!response.ok) throw await fault(response);
    const entry = (await response.json()).data[0];
    model = entry.id;
    const context = entry.max_model_len ? ` · context ${entry.max_model_len.toLocaleString("en")}` : "";
    $("model").replaceChildren(model, el("span", { textContent: context }));
    $("model").title = model + context;
  } catch (error) {
    $("model").textContent = "no connection";
    $("model").title = explain(error);
  }
}

// The data lines of a stream of server-sent events, parsed, until [DONE].
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r/);
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

function requestFor(turns) {
  const common = { model, stream: true, stream_options: { include_usage: true }, ...sampling() };
  if (plainText) {
    const text = turns.map((turn) => turn.text).join("");
    return ["/v1/completions", { max_tokens: 256, ...common, prompt: text }];
  }
  const messages = turns.filter((turn) => turn.text || turn.role === "user").map((turn) => ({ role: turn.role, content: turn.text }));
  const system = $("system").value.trim();
  if (system) messages.unshift({ role: "system", content: system });
  return ["/v1/chat/completions", { ...common, messages }];
}

async function open(turns, signal) {
  const [path, body] = requestFor(turns);
  const response = await fetch(at(path), {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal,
  });
  if (response.ok) return response;
  const error = await fault(response);
  if (error.code !== "no_chat_template" || plainText) throw error;
  plainText = true;
  $("mode").hidden = false;
  return open(turns, signal);
}

// ---------------------------------------------------------------- conversation

const turns = [];  // {role, text, node}
let running = null;  // AbortController of the answer in progress

const say = (text) => { $("status").textContent = text; };
const nearEnd = () => $("log").scrollHeight - $("log").scrollTop - $("log").clientHeight < 80;
const toEnd = () => { $("log").scrollTop = $("log").scrollHeight; };

function setRunning(controller) {
  running = controller;
  const inside = document.activeElement === $("send") || document.activeElement === $("stop");
  $("send").hidden = running !== null;
  $("stop").hidden = running === null;
  $("new").disabled = running !== null;
  if (inside) (running ? $("stop") : $("input")).focus();
  updateSend();
}
function updateSend() { $("send").disabled = !$("input").value.trim(); }

function addUser(text) {
  $("welcome").hidden = true;
  const node = el("div", { className: "user" }, el("p", { textContent: text }));
  node.firstChild.prepend(el("span", { className: "hidden", textContent: "You: " }));
  $("log").append(node);
  turns.push({ role: "user", text, node });
}

// An answer on the page: shows text at most once a frame, then figures and buttons.
class AnswerView {
  constructor() {
    this.body = el("div", { className: "body waiting" });
    this.figures = el("span", { className: "figures" });
    this.meta = el("div", { className: "meta" }, this.figures);
    this.node = el("article", {}, el("span", { className: "hidden", textContent: "Answer: " }), this.body, this.meta);
    this.node.setAttribute("aria-busy", "true");
    this.frame = 0;
    $("log").append(this.node);
  }
  show(answer) {
    this.answer = answer;
    this.frame ||= requestAnimationFrame(() => this.render());
  }
  render() {
    this.frame = 0;
    const follow = nearEnd();
    const { text, reasoning, tokens } = this.answer;
    if (reasoning) {
      if (!this.thought) {
        this.thought = el("details", { open: true }, el("summary", { textContent: "Thinking" }), el("div", { className: "plain" }));
        this.body.before(this.thought);
      }
      if (text && this.thought.open && !this.folded) { this.thought.open = false; this.folded = true; }
      this.thought.lastChild.textContent = reasoning;
    }
    this.body.replaceChildren(plainText ? el("p", { textContent: text }) : markdown(text));
    this.body.classList.toggle("waiting", !text && !reasoning);
    if (tokens) this.figures.textContent = figures(this.answer);
    if (follow) toEnd();
  }
  finish(answer, error) {
    cancelAnimationFrame(this.frame);
    const follow = nearEnd();
    this.answer = answer;
    this.render();
    this.body.classList.remove("waiting");
    this.node.setAttribute("aria-busy", "false");
    this.figures.textContent = figures(answer);
    if (error) this.meta.before(el("p", { className: "error", textContent: explain(error) }));
    if (answer.text && navigator.clipboard) this.meta.append(copyButton(() => answer.text));
    this.again = el("button", { type: "button", className: "link", textContent: error ? "Try again" : "Regenerate" });
    this.again.addEventListener("click", regenerate);
    this.meta.append(this.again);
    if (follow) toEnd();
  }
}

function figures(answer) {
  if (!answer.first) return answer.end || "";
  const parts = [];
  const seconds = (answer.last - answer.first) / 1000;
  if (answer.tokens > 1 && seconds > 0) parts.push(((answer.tokens - 1) / seconds).toFixed(answer.tokens / seconds < 100 ? 1 : 0) + " tokens/s");
  const wait = answer.first - answer.start;
  parts.push("first token " + (wait < 1000 ? Math.round(wait) + " ms" : (wait / 1000).toFixed(2) + " s"));
  parts.push(answer.tokens + (answer.tokens === 1 ? " token" : " tokens"));
  if (answer.cached) parts.push(answer.cached + " cached");
  if (answer.end) parts.push(answer.end);
  return parts.join(" · ");
}

const kEnds = { length: "cut at the limit", stop: "", cancelled: "cancelled", deadline: "out of time", error: "failed", content_filter: "filtered" };

async function answer() {
  for (const turn of turns) if (turn.view?.again) turn.view.again.hidden = true;
  const view = new AnswerView();
  const result = { text: "", reasoning: "", tokens: 0, cached: 0, start: performance.now(), first: 0, last: 0, end: "" };
  const turn = { role: "assistant", text: "", node: view.node, view };
  const before = [...turns];
  turns.push(turn);
  toEnd();
  const controller = new AbortController();
  setRunning(controller);
  say("Waiting for the answer");
  let error = null;
  try {
    for await (const event of events(await open(before, controller.signal))) {
      if (event.error) throw new ServerError(event.error.status || 500, event.error, 0);
      if (event.usage) {
        result.tokens = event.usage.completion_tokens;
        result.cached = event.usage.prompt_tokens_details?.cached_tokens || 0;
      }
      const choice = event.choices?.[0];
      if (!choice) continue;
      const text = choice.text ?? choice.delta?.content ?? "";
      const thought = choice.delta?.reasoning_content ?? "";
      if (text || thought) {
        result.last = performance.now();
        result.first ||= result.last;
        result.tokens++;
        result.text += text;
        result.reasoning += thought;
        turn.text = result.text;
        view.show(result);
      }
      if (choice.finish_reason) result.end = kEnds[choice.finish_reason] ?? choice.finish_reason;
    }
  } catch (caught) {
    if (caught.name === "AbortError") result.end = "stopped";
    else error = caught;
  }
  view.finish(result, error);
  setRunning(null);
  say(error ? explain(error) : `Answer complete, ${result.tokens} tokens`);
}

function regenerate() {
  if (running || turns.at(-1)?.role !== "assistant") return;
  turns.pop().node.remove();
  $("input").focus();
  answer();
}

function send() {
  const text = $("input").value;
  if (!text.trim() || running) return;
  $("input").value = "";
  grow();
  addUser(plainText ? text : text.trim());
  answer();
}

function clear() {
  for (const { node } of turns) node.remove();
  turns.length = 0;
  $("welcome").hidden = false;
  $("input").focus();
  say("New chat");
}

function grow() {
  $("input").style.height = "auto";
  $("input").style.height = $("input").scrollHeight + "px";
  updateSend();
}

$("composer").addEventListener("submit", (event) => { event.preventDefault(); send(); });
$("stop").addEventListener("click", () => running?.abort());
$("new").addEventListener("click", clear);
$("input").addEventListener("input", grow);
$("input").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (panelIsOpen()) setPanel(false);
  else if (running) running.abort();
});

for (const text of ['Tell me a story that begins: "The old clock had stopped at noon."', "Tell me about a fox who could not sleep.", "Write three short sayings about patience."]) {
  const button = el("button", { type: "button", textContent: text });
  button.addEventListener("click", () => { $("input").value = text; send(); $("input").focus(); });
  document.querySelector(".examples").append(button);
}

// ---------------------------------------------------------------- live view

const kPoints = 90;
const kPlots = [
  { label: "Throughput", unit: (v) => (v < 10 ? v.toFixed(1) : Math.round(v).toLocaleString("en")) + " tokens/s", floor: 10 },
  { label: "Running batch", unit: (v) => String(v), floor: 4 },
  { label: "Queue", unit: (v) => String(v), floor: 4 },
  { label: "KV cache in use", unit: (v) => (100 * v).toFixed(v > 0 && v < 0.1 ? 1 : 0) + " %", floor: 1 },
];
const kSvg = "http://www.w3.org/2000/svg";

function svg(tag, attributes) {
  const node = document.createElementNS(kSvg, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function buildPlots() {
  for (const plot of kPlots) {
    plot.values = [];
    plot.text = el("strong", { textContent: "–" });
    plot.peak = el("span", { className: "small" });
    plot.area = svg("path", { class: "area" });
    plot.line = svg("path", { class: "line" });
    const image = svg("svg", { viewBox: `0 0 ${kPoints - 1} 40`, preserveAspectRatio: "none", "aria-hidden": "true" });
    image.append(svg("line", { x1: 0, x2: kPoints - 1, y1: 20, y2: 20, "vector-effect": "non-scaling-stroke" }), plot.area, plot.line);
    $("plots").append(el("div", { className: "plot" }, el("div", {}, el("span", { textContent: plot.label }), plot.peak, plot.text), image));
  }
}

function draw(plot, value) {
  plot.values.push(value);
  if (plot.values.length > kPoints) plot.values.shift();
  const most = Math.max(...plot.values);
  const top = plot.floor === 1 ? 1 : Math.max(plot.floor, most) * 1.1;
  plot.peak.textContent = most > 0 ? "peak " + plot.unit(most).split(" tok")[0] : "";
  const left = kPoints - plot.values.length;
  const points = plot.values.map((v, i) => `${left + i} ${(39 - (37 * v) / top).toFixed(2)}`);
  plot.line.setAttribute("d", "M" + points.join("L"));
  plot.area.setAttribute("d", `M${left} 40L${points.join("L")}L${kPoints - 1} 40Z`);
  plot.text.textContent = plot.unit(value);
}

function parseMetrics(text) {
  const out = {};
  for (const line of text.split("\n")) {
    const match = /^(lathe_\w+) (\S+)$/.exec(line);
    if (match) out[match[1]] = Number(match[2]);
  }
  return out;
}

let last = null;  // {time, tokens} of the scrape before
let polling = false;
async function poll() {
  if (document.hidden || polling) return;
  polling = true;
  try {
    const response = await fetch(at("/metrics"), { signal: AbortSignal.timeout(3000) });
    if (!response.ok) throw await fault(response);
    const m = parseMetrics(await response.text());
    const now = { time: performance.now(), tokens: m.lathe_generated_tokens_total };
    // After a pause (a hidden page) or a new start of the server there is no rate to show.
    const fresh = last && now.tokens >= last.tokens && now.time - last.time < 5000;
    const rate = fresh ? (1000 * (now.tokens - last.tokens)) / (now.time - last.time) : 0;
    last = now;
    [rate, m.lathe_requests_running, m.lathe_requests_waiting, m.lathe_kv_cache_usage_ratio].forEach((v, i) => draw(kPlots[i], v || 0));
    $("live-state").textContent = "";
    if (!model) loadModel();
  } catch (error) {
    last = null;
    $("live-state").textContent = error instanceof ServerError && error.status === 401 ? "needs a key" : "no connection";
  } finally {
    polling = false;
  }
}

buildControls();
buildPlots();
grow();
loadModel();
poll();
setInterval(poll, 1000);
