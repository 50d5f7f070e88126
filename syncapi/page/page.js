"use strict";
// Asks for the figures every two seconds and draws them. No library, nothing from elsewhere; styles are
// classes, since the page's security policy lets no element carry its own.

const EVERY_MS = 2000;
const FIRST_MS = 1200; // The second answer has the first rates.
const SPAN_S = 300;
const SPAN_MIN_S = 60;
const POINTS_MAX = 400;
const HEIGHT = 190, LEFT = 52, RIGHT = 6, TOP = 8, BOTTOM = 20;
const LATE_S = 10;

const CHARTS = [
  {
    id: "volume", title: "From events to rows, a second", unit: count,
    text: "One message to a group of 50 is one event that marks 50 people. Rows: of inboxes, and of the change index, where " +
      "marks that come together share one.",
    series: [
      { name: "events in", hue: "a", value: (f) => f.volume.events_per_s },
      { name: "users marked", hue: "b", value: (f) => f.volume.marks_per_s },
      { name: "rows written", hue: "c", value: (f) => f.volume.rows_per_s },
    ],
  },
  {
    id: "paths", title: "Syncs by path, a second", unit: count, stacked: true,
    text: "Delta: only what changed, the usual answer. Correction: a device had something wrong, and is sent what differs. " +
      "Full: a new device, or one that was away too long.",
    series: [
      { name: "delta", hue: "a", value: (f) => f.sync.by_path.delta },
      { name: "correction", hue: "b", value: (f) => f.sync.by_path.correction },
      { name: "full", hue: "d", value: (f) => f.sync.by_path.full },
    ],
  },
  {
    id: "spared", title: "Work that was spared, a second", unit: count, stacked: true,
    text: "Folded: messages told by one mark. Coalesced: marks in one row. Saved: members of large, busy groups, who are not " +
      "marked and look for themselves.",
    series: [
      { name: "marks folded", hue: "c", value: (f) => f.volume.folded_per_s },
      { name: "marks coalesced", hue: "a", value: (f) => f.volume.coalesced_per_s },
      { name: "saved by the policy", hue: "d", value: (f) => f.volume.saved_per_s },
    ],
  },
  {
    id: "late", title: "How late changes are", unit: time,
    text: "Age of the oldest event that no stream worker has done, and of the oldest change that no materializer has written. " +
      "It should come back to nothing.",
    series: [
      { name: "events", hue: "a", value: (f) => f.lateness.stream_oldest_s },
      { name: "changes", hue: "b", value: (f) => f.lateness.change_oldest_s },
    ],
  },
];

const points = []; // {at, f}: when, in seconds, and the figures
const drawn = {};

function count(value, digits = 1) {
  if (value === null || value === undefined) return "–";
  if (value > 0 && value < 10 && value !== Math.round(value)) {
    return value < Math.pow(10, -digits) ? `<${Math.pow(10, -digits)}` : String(Number(value.toFixed(digits)));
  }
  if (value >= 1e6) return (value / 1e6).toFixed(1) + " M";
  return Math.round(value).toLocaleString("en");
}

function time(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds === 0) return "0";
  if (seconds < 0.01) return (seconds * 1000).toFixed(1) + " ms";
  if (seconds < 1) return (seconds * 1000).toFixed(0) + " ms";
  if (seconds < 100) return seconds.toFixed(seconds < 10 ? 1 : 0) + " s";
  if (seconds < 6000) return (seconds / 60).toFixed(0) + " min";
  return seconds < 200000 ? (seconds / 3600).toFixed(0) + " h" : (seconds / 86400).toFixed(0) + " d";
}

function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  if (bytes < 1000) return bytes.toFixed(0) + " B";
  return bytes < 1e6 ? (bytes / 1000).toFixed(1) + " KB" : (bytes / 1e6).toFixed(0) + " MB";
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function shape(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function build() {
  const place = document.getElementById("charts");
  for (const chart of CHARTS) {
    const card = element("div", "card chart");
    card.append(element("h2", "", chart.title), element("p", "", chart.text));
    const svg = shape("svg", {
      role: "img", "aria-label": chart.title, class: chart.stacked ? "stacked" : "", "data-chart": chart.id,
    });
    const legend = element("ul", "legend");
    const values = chart.series.map((one) => {
      const item = element("li");
      const value = element("b", "", "–");
      item.append(element("i", one.hue), `${one.name} `, value);
      legend.append(item);
      return value;
    });
    card.append(svg, legend);
    place.append(card);
    drawn[chart.id] = { svg, values, hover: null };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      drawn[chart.id].hover = (event.clientX - box.left) / box.width;
      draw(chart);
    });
    svg.addEventListener("pointerleave", () => { drawn[chart.id].hover = null; draw(chart); });
  }
}

// A greatest value for the axis, of which a quarter is a round number.
function above(value) {
  if (value <= 0) return 1;
  const unit = Math.pow(10, Math.floor(Math.log10(value / 4)));
  return [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((step) => 4 * step * unit).find((step) => step >= value);
}

function draw(chart) {
  const { svg, values, hover } = drawn[chart.id];
  // It is drawn in the size it has, so that letters are not stretched.
  const wide = Math.max(svg.getBoundingClientRect().width, 200);
  svg.setAttribute("viewBox", `0 0 ${wide} ${HEIGHT}`);
  svg.replaceChildren();
  if (!points.length) return;
  const end = points[points.length - 1].at;
  const span = Math.min(SPAN_S, Math.max(SPAN_MIN_S, end - points[0].at));
  const x = (at) => LEFT + (wide - LEFT - RIGHT) * (1 - (end - at) / span);
  const seen = points.filter((point) => end - point.at <= span);
  const stacks = seen.map(() => 0);
  const lines = chart.series.map((one) => seen.map((point, place) => {
    const value = one.value(point.f);
    if (value === null || value === undefined) return null;
    const under = chart.stacked ? stacks[place] : 0;
    stacks[place] = under + value;
    return { at: point.at, under, over: under + value };
  }));
  const top = above(Math.max(0, ...lines.flat().filter(Boolean).map((one) => one.over)));
  const y = (value) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value / top);
  for (let step = 0; step <= 4; step += 1) {
    const at = y(top * step / 4);
    svg.append(shape("line", { class: "grid", x1: LEFT, x2: wide - RIGHT, y1: at, y2: at }));
    svg.append(shape("text", { x: LEFT - 7, y: at + 4, "text-anchor": "end" }, chart.unit(top * step / 4, 2)));
  }
  svg.append(shape("text", { x: LEFT, y: HEIGHT - 4 }, span < 120 ? `${Math.round(span)} s ago` : `${Math.round(span / 60)} min ago`));
  svg.append(shape("text", { x: wide - RIGHT, y: HEIGHT - 4, "text-anchor": "end" }, "now"));
  // The first lies on top: a thin layer must not hide a thick one behind its line.
  [...lines.keys()].reverse().forEach((place) => {
    const hue = chart.series[place].hue;
    for (const part of parts(lines[place])) {
      const over = part.map((one) => `${x(one.at).toFixed(1)},${y(one.over).toFixed(1)}`);
      const under = part.map((one) => `${x(one.at).toFixed(1)},${y(one.under).toFixed(1)}`).reverse();
      svg.append(shape("path", { class: `area ${hue}`, d: `M${over.join("L")}L${under.join("L")}Z` }));
      svg.append(shape("path", { class: `line ${hue}`, d: `M${over.join("L")}` }));
    }
  });
  let shown = seen[seen.length - 1];
  if (hover !== null) {
    const at = end - span * (1 - (hover * wide - LEFT) / (wide - LEFT - RIGHT));
    shown = seen.reduce((best, one) => Math.abs(one.at - at) < Math.abs(best.at - at) ? one : best);
    svg.append(shape("line", { class: "cursor", x1: x(shown.at), x2: x(shown.at), y1: TOP, y2: HEIGHT - BOTTOM }));
  }
  chart.series.forEach((one, place) => { values[place].textContent = chart.unit(one.value(shown.f) ?? null); });
}

// The runs of a line between the looks at which it was not known.
function parts(line) {
  const found = [[]];
  for (const one of line) {
    if (one) found[found.length - 1].push(one); else if (found[found.length - 1].length) found.push([]);
  }
  return found.filter((part) => part.length > 1);
}

function put(name, value, after) {
  const place = document.querySelector(`[data-value=${name}]`);
  place.textContent = value;
  if (after) place.append(element("small", "", after));
}

function list(id, rows) {
  document.getElementById(id).replaceChildren(...rows.flatMap(([term, value, bad]) =>
    [element("dt", "", term), element("dd", bad ? "bad-text" : "", value)]));
}

function spread(one) {
  return one.half === null ? "–" : `${time(one.half)}, ${time(one.most)}`;
}

function show(f) {
  const { volume, sync, lateness, store, policy } = f;
  put("events", count(volume.events_per_s), " a second");
  put("marks", count(volume.marks_per_s), " a second");
  put("rows", count(volume.rows_per_s), " a second");
  put("syncs", count(sync.answers_per_s), " a second");
  put("each", volume.marks_per_event === null ? "" : `, ${volume.marks_per_event.toFixed(1)} for one event`);
  put("bytes", sync.answer_bytes === null ? "" : `, ${size(sync.answer_bytes)} each`);
  list("late", [
    ["events that wait", count(lateness.stream_records)],
    ["changes that wait", count(lateness.change_records)],
    ["oldest of them", time(lateness.change_oldest_s), lateness.change_oldest_s > LATE_S],
    ["change to rows: half, 99 %", spread(lateness.change_to_rows_s)],
    ["dead letters (unusable)", count(lateness.dead_letters_total), lateness.dead_letters_per_s > 0],
  ]);
  const reason = Object.entries(sync.by_reason).filter(([, rate]) => rate > 0).sort((a, b) => b[1] - a[1])[0];
  list("devices", [
    ["time to answer: half, 99 %", spread(sync.answer_s)],
    ["why not a delta, mostly", reason ? reason[0].replace("_", " ") : "–"],
    ["connections", count(sync.connections)],
    ["pokes (“there is news”) a second", count(sync.pokes_per_s)],
    ["refused, failed a second", `${count(sync.refused_per_s)}, ${count(sync.failed_per_s)}`, sync.failed_per_s > 0],
  ]);
  const modes = Object.values(policy.conversations);
  list("policy", [
    ["conversations read-diffused", modes.length ? count(modes.reduce((a, b) => a + b, 0)) : "–"],
    ["switches a second", count(policy.switches_per_s)],
    ["switches since start", count(policy.switches_total)],
    ["one message marks: half, 99 %",
      volume.fan_out_users.half === null ? "–" : `${count(volume.fan_out_users.half)}, ${count(volume.fan_out_users.most)}`],
    ["marks saved since start", count(volume.saved_total)],
  ]);
  list("store", [
    ["reads a second", count(store.reads_per_s)],
    ["read: half, 99 %", spread(store.read_s)],
    ["writes a second", count(store.writes_per_s)],
    ["write: half, 99 %", spread(store.write_s)],
    ["failures a second", count(store.failures_per_s), store.failures_per_s > 0],
  ]);
  document.getElementById("processes").replaceChildren(...f.processes.map((one) => {
    const row = element("tr");
    const state = element("td");
    state.append(element("span", `state ${one.state}`, one.state));
    row.append(element("td", "", one.name), state, element("td", "", one.cores === null ? "–" : one.cores.toFixed(2)),
      element("td", "", size(one.resident_bytes)), element("td", "", time(one.uptime_s)),
      element("td", "", [one.problem, one.advice].filter(Boolean).join(" ")));
    return row;
  }));
  const missing = document.getElementById("missing");
  missing.textContent = f.missing;
  missing.hidden = !f.missing;
  const wrong = f.processes.filter((one) => one.state !== "up").length;
  state(wrong ? "bad" : "good", wrong ? `${wrong} of ${f.processes.length} processes do not work` :
    `${f.processes.length === 1 ? "The process works" : `All ${f.processes.length} processes work`}`);
}

function state(kind, text) {
  const place = document.getElementById("status");
  place.className = `status ${kind}`;
  place.textContent = text;
}

async function ask() {
  try {
    const answer = await fetch("figures", { cache: "no-store" });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

async function look() {
  const f = await ask();
  if (!f) {
    state("bad", "The API does not answer; asking again…");
    return;
  }
  const at = f.at_ms / 1000;
  const last = points[points.length - 1];
  if (last && at === last.at) return; // the same look as before
  points.push({ at, f });
  if (points.length > POINTS_MAX) points.shift();
  show(f);
  CHARTS.forEach(draw);
}

build();
look().then(() => setTimeout(function again() {
  look().finally(() => setTimeout(again, EVERY_MS));
}, FIRST_MS));
window.addEventListener("resize", () => CHARTS.forEach(draw));
