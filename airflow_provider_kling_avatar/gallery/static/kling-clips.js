/**
 * The pages of this provider in Airflow's UI: the gallery, the clip beside its task, a Dag's clips and costs.
 *
 * Airflow imports this file as it stands and renders the function that it leaves under the names at the end
 * of the file. It knows React as the UI offers it and the routes of its own server, and nothing of Airflow's
 * database. Whatever comes from a server becomes text, never markup; an address is only ever made of
 * encoded ids.
 */

const { createElement: h, Fragment, useCallback, useEffect, useRef, useState } = globalThis.React;
const Router = globalThis.ReactRouterDOM ?? {};

const SERVER = new URL("../", import.meta.url); // .../kling-avatar/
const AIRFLOW = new URL("../", SERVER);
const PAGE = 24; // clips
const REFRESH = 5_000; // milliseconds, while a shown clip is under way
const REFRESH_IDLE = 30_000; // otherwise: a clip may have been ordered since, an error may have passed

/** State -> what to call it, its colour, and how it is said since when: "Queued for 2 min". */
const STATES = {
  waiting_for_slot: ["Waiting for a slot", "orange", (time) => `for ${time}`],
  submitted: ["Submitted", "gray", (time) => `${time} ago`],
  queued: ["Queued", "orange", (time) => `for ${time}`],
  rendering: ["Rendering", "blue", (time) => `for ${time}`],
  landing: ["Landing", "blue", (time) => `for ${time}`],
  ready: ["Ready", "green"],
  failed: ["Failed", "red"],
  retrying: ["Retrying", "red", (time) => `for ${time}`],
  stopped: ["Stopped", "gray"],
  unknown: ["Unknown", "gray"],
};
const STATE_FILTERS = [["", "All states"], ["under_way", "Under way"], ["ready", "Ready"], ["failed", "Failed"]];
const TIME_FILTERS = [["", "Any time"], ["1", "Last 24 hours"], ["7", "Last 7 days"], ["30", "Last 30 days"]];
const COST_DAYS = [["7", "Last 7 days"], ["30", "Last 30 days"], ["90", "Last 90 days"], ["365", "Last year"]];

// ---------------------------------------------------------------------------------------------- words

/** Seconds in words: "45 s", "2 min", or with `parts` 2 "2 min 31 s". */
function inWords(seconds, parts = 1) {
  let left = Math.max(0, Math.floor(seconds));
  const words = [];
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0) words.push(`${count} ${unit}`);
    else if (words.length > 0) break; // "1 h", not "1 h 12 s"
  }
  return words.slice(0, parts).join(" ") || "0 s";
}

/** A measured time, to a tenth of a second while it is short. */
const measured = (seconds) => (seconds < 60 ? `${Number(seconds.toFixed(1))} s` : inWords(seconds, 2));

/** "0.34 USD"; an amount whose currency nobody said stays a number. */
function money(amount, currency) {
  const number = Number(amount);
  const digits = { minimumFractionDigits: 2, maximumFractionDigits: 4 };
  return `${Number.isFinite(number) ? number.toLocaleString("en", digits) : amount} ${currency ?? ""}`.trim();
}

/** Bytes in words: "2.3 MB". */
function bytes(size) {
  const unit = size < 1e6 ? [1e3, "kB"] : size < 1e9 ? [1e6, "MB"] : [1e9, "GB"];
  return `${(size / unit[0]).toFixed(1)} ${unit[1]}`;
}

/** What was ordered and where: "kling, avatar, std". */
const orderOf = (clip) => [clip.api, clip.endpoint, clip.mode].filter(Boolean).join(", ").replaceAll("_", " ");
const isRow = (clip) => clip.map_index >= 0;
const nameOf = (clip) => (isRow(clip) ? `${clip.task_id}, row ${clip.map_index}` : clip.task_id);

/** Estimated and deducted as rows for `Facts`. */
const costOf = (clip) => [
  ["Estimated", clip.estimated_cost != null && money(clip.estimated_cost, clip.currency)],
  ["Deducted", clip.actual_cost != null && money(clip.actual_cost, clip.currency)],
];

// ------------------------------------------------------------------------------------------ addresses

const id = encodeURIComponent;
const withQuery = (path, params) =>
  `${new URL(path, SERVER)}?${new URLSearchParams(Object.entries(params).filter(([, value]) => value !== ""))}`;
const taskParams = ({ run_id, task_id, map_index }) => ({ run_id, task_id, map_index });
const videoOf = (clip, more = {}) => withQuery(`dags/${id(clip.dag_id)}/video`, { ...taskParams(clip), ...more });
const dagPage = (clip) => `/dags/${id(clip.dag_id)}`;
const runPage = (clip) => `${dagPage(clip)}/runs/${id(clip.run_id)}`;
const taskPage = (clip) => `${runPage(clip)}/tasks/${id(clip.task_id)}${isRow(clip) ? "/mapped" : ""}`;
const rowPage = (clip) => (isRow(clip) ? `${taskPage(clip)}/${id(clip.map_index)}` : taskPage(clip));
const clipPage = (clip) => `${rowPage(clip)}/plugin/kling-clip`;

/** A link into Airflow's own pages, without loading them anew where the UI's router is at hand. */
function PageLink({ to, children, ...rest }) {
  if (Router.Link && Router.useInRouterContext?.()) return h(Router.Link, { to, ...rest }, children);
  return h("a", { href: new URL(`.${to}`, AIRFLOW).href, ...rest }, children);
}

/**
 * One value of the address' query by our own name, and a function that sets several of them.
 * Not by the UI's router: that would mount the page anew, which loses the focus and what is shown meanwhile.
 */
function useFilters() {
  const [query, setQuery] = useState(() => new URLSearchParams(globalThis.location.search));
  const change = (values) => {
    const next = new URLSearchParams(query);
    for (const [name, value] of Object.entries(values)) {
      if (value) next.set(`clips_${name}`, value);
      else next.delete(`clips_${name}`);
    }
    const address = new URL(globalThis.location.href);
    address.search = next;
    globalThis.history.replaceState(globalThis.history.state, "", address);
    setQuery(next);
  };
  return [(name) => query.get(`clips_${name}`) ?? "", change];
}

// -------------------------------------------------------------------------------------------- loading

/** An answer that cannot be shown. `status` is 0 where there was none. */
class LoadError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The JSON at an address, and the server's time in Unix seconds: the reader's clock may be wrong. */
async function fetchJson(address, signal) {
  const response = await fetch(address, { signal, headers: { Accept: "application/json" } }).catch((cause) => {
    throw new LoadError(0, String(cause?.message ?? cause));
  });
  const data = await response.json().catch(() => null);
  if (!response.ok || data === null) {
    const detail = typeof data?.detail === "string" ? data.detail : "";
    // Airflow says 403 to a login that it does not know any more, for instance after its secret has changed.
    throw new LoadError(detail === "Invalid JWT token" ? 401 : response.status, detail);
  }
  return { data, now: (Date.parse(response.headers.get("date")) || Date.now()) / 1000 };
}

/**
 * Loads an address, and again after `pause(data)` milliseconds, unless that is null, while the page can be seen.
 * What was loaded last stays until the next answer is there, so nothing flickers and no video stops.
 */
function useLoaded(address, pause) {
  const [loaded, setLoaded] = useState({ data: null, error: null, now: 0, asked: "" });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    let timer;
    let due = false;
    const load = async () => {
      let wait = null;
      try {
        const answer = await fetchJson(address, abort.signal);
        if (abort.signal.aborted) return;
        setLoaded({ ...answer, error: null, asked: address });
        wait = pause(answer.data);
      } catch (error) {
        if (abort.signal.aborted) return;
        setLoaded((old) => ({ ...old, data: old.asked === address ? old.data : null, error, asked: address }));
        if (error.status !== 401 && error.status !== 403) wait = REFRESH_IDLE;
      }
      if (wait !== null) timer = setTimeout(loadIfSeen, wait);
    };
    const loadIfSeen = () => {
      due = document.hidden;
      if (!due) load();
    };
    const onVisible = () => due && loadIfSeen();
    document.addEventListener("visibilitychange", onVisible);
    load();
    return () => {
      abort.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", onVisible);
    };
  }, [address, turn]);
  const reload = useCallback(() => setTurn((count) => count + 1), []);
  return { ...loaded, reload, changing: loaded.asked !== address };
}

/** What an error means to the reader: a headline, and what to do. */
function explain({ status, message }) {
  if (status === 0) return ["The server cannot be reached", `Check your connection, then try again. (${message})`];
  if (status === 401) return ["You are not logged in any more", "Log in again; this page comes back afterwards."];
  if (status === 403) {
    return ["You have no right to see this", "Ask an admin of this Airflow for the right to read the Dag's tasks."];
  }
  const said = message ? `It said: ${message}` : "It gave no reason; its log, or that of a proxy before it, has one.";
  if (status >= 500) return [`The server failed (${status})`, said];
  if (status < 400) return ["The answer cannot be read", "Something between here and Airflow sent a page instead."];
  return [`The server refused (${status})`, said];
}

/** Why a video does not load: the player never says, so its address is asked once more. */
async function whyNoVideo(address) {
  try {
    const asking = { headers: { Range: "bytes=0-0" }, redirect: "manual", cache: "no-store" };
    const response = await fetch(address, asking);
    if (response.type === "opaqueredirect") {
      return "Airflow gave a link to its storage, but nothing could be loaded from there. The file may be gone, "
        + "or this page may not load media from there (Content-Security-Policy, media-src).";
    }
    if (response.ok) return "The server sent it, but this browser cannot play it. Download it instead.";
    const body = await response.json().catch(() => null);
    if (typeof body?.detail === "string") return body.detail;
    return explain(new LoadError(response.status, "")).join(". ");
  } catch (error) {
    return explain(new LoadError(0, error.message)).join(". ");
  }
}

// --------------------------------------------------------------------------------------- small pieces

const Button = ({ children, ...rest }) => h("button", { type: "button", className: "kc-button", ...rest }, children);

/** A select with its label. */
const Choice = ({ label, value, options, onChange }) =>
  h("label", { className: "kc-choice" }, h("span", null, label),
    h("select", { value, onChange: (event) => onChange(event.target.value) },
      options.map(([key, text]) => h("option", { key, value: key }, text))));

/** A headline, a sentence and what can be done: empty pages and errors. */
const Notice = ({ title, text, children, alert }) =>
  h("div", { className: alert ? "kc-notice kc-alert" : "kc-notice", role: alert ? "alert" : undefined },
    h("strong", null, title), h("p", null, text), children && h("div", { className: "kc-actions" }, children));

/** An error, and the way out of it. `stale`: older content stays below. */
function ErrorNotice({ error, retry, stale }) {
  const [title, text] = explain(error);
  const login = `${new URL("api/v2/auth/login", AIRFLOW)}?next=${id(globalThis.location.href)}`;
  return h(Notice, { alert: true, title, text: stale ? `${text} What you see below may be out of date.` : text },
    error.status === 401 && h("a", { href: login, className: "kc-button" }, "Log in again"),
    h(Button, { onClick: retry }, "Try again"));
}

/** Grey shapes where cards will be. */
const Skeleton = ({ count = 6 }) =>
  h("div", { className: "kc-grid", role: "status", "aria-busy": true, "aria-label": "Loading" },
    Array.from({ length: count }, (_, key) => h("div", { key, className: "kc-card kc-skeleton" },
      h("div", { className: "kc-screen" }), h("div", { className: "kc-body" }, h("i"), h("i"), h("i")))));

/** The state of a clip, and for how long it has been in it. */
function Badge({ clip, now }) {
  const [label, colour, since] = STATES[clip.state] ?? [clip.state, "gray"];
  const text = since && clip.state_since ? `${label} ${since(inWords(now - clip.state_since))}` : label;
  return h("span", { className: `kc-badge kc-${colour}`, "data-state": clip.state }, text);
}

/** A moment in the reader's own time zone, and how long ago that was. */
function Moment({ at, now }) {
  const date = new Date(at * 1000);
  const day = { year: "numeric", month: "short", day: "numeric" };
  const time = { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" };
  const local = new Intl.DateTimeFormat(undefined, { ...day, ...time }).format(date);
  return h("time", { dateTime: date.toISOString() }, `${local} (${inWords(now - at)} ago)`);
}

/** Labels and what they stand for; those without a value are left out. */
const Facts = ({ rows }) =>
  h("dl", { className: "kc-facts" }, rows.filter(isKnown).map(([label, value]) =>
    h(Fragment, { key: label }, h("dt", null, label), h("dd", null, value))));
const isKnown = ([, value]) => value != null && value !== false && value !== "";

/** Links to the Dag, run, task and row of a clip, as rows for `Facts`. */
const placeOf = (clip) => [
  ["Dag", h(PageLink, { to: dagPage(clip), title: clip.dag_id }, clip.dag_id)],
  ["Run", h(PageLink, { to: runPage(clip), title: clip.run_id }, clip.run_id)],
  ["Task", h(PageLink, { to: taskPage(clip), title: clip.task_id }, clip.task_id)],
  ["Row", isRow(clip) && h(PageLink, { to: rowPage(clip) }, clip.map_index)],
];

/** Why it failed, whether it was paid, what is wrong with its summary, and why else it cannot be played. */
const Reasons = ({ clip }) => [
  clip.reason && h("p", { key: "reason", className: "kc-reason" }, clip.reason),
  clip.paid && h("p", { key: "paid" }, `Paid: ${clip.paid}`),
  clip.problem && h("p", { key: "problem", className: "kc-reason" }, clip.problem),
  !clip.playable && !clip.reason && h("p", { key: "not_playable" }, clip.not_playable || "There is no video."),
];

/** An id with a button that copies it. */
function Copyable({ text }) {
  const [copied, setCopied] = useState("");
  const copy = async () => setCopied((await copyText(text)) ? "Copied" : "Select it and copy it by hand");
  useEffect(() => {
    const timer = copied && setTimeout(() => setCopied(""), 2000);
    return () => clearTimeout(timer);
  }, [copied]);
  return h("span", { className: "kc-copyable" }, h("code", null, text),
    h(Button, { onClick: copy, "aria-label": `Copy ${text}` }, "Copy"), h("span", { "aria-live": "polite" }, copied));
}

/** Copy to the clipboard; without HTTPS browsers only know the old way. */
async function copyText(text) {
  try {
    await globalThis.navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

// --------------------------------------------------------------------------------------------- a clip

/** True from the moment at which an element comes near the visible part of the page. */
function useNear(element) {
  const [near, setNear] = useState(!globalThis.IntersectionObserver);
  useEffect(() => {
    if (near || !element.current) return undefined;
    const seen = (entries) => entries.some((entry) => entry.isIntersecting) && setNear(true);
    const observer = new IntersectionObserver(seen, { rootMargin: "200px" });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [near]);
  return near;
}

/** The video, loaded when it comes into view, or what went wrong with it. */
function Video({ clip }) {
  const box = useRef(null);
  const near = useNear(box);
  const [trouble, setTrouble] = useState(null);
  const address = videoOf(clip);
  const loaded = useRef(false);
  const loadedAnewAt = useRef(-Infinity); // seconds of the film
  const onError = async ({ target: video }) => {
    const [time, paused] = [video.currentTime, video.paused];
    // It was fine: its link into a storage has run out, and the address gives a new one. But only once at the same
    // place: a film that is broken there would be loaded without end.
    if (loaded.current && Math.abs(time - loadedAnewAt.current) > 1) {
      loaded.current = false;
      loadedAnewAt.current = time;
      video.load();
      video.currentTime = time;
      if (!paused) video.play().catch(() => {});
      return;
    }
    setTrouble("…");
    setTrouble(await whyNoVideo(address));
  };
  const tryAgain = () => {
    [loaded.current, loadedAnewAt.current] = [false, -Infinity];
    setTrouble(null);
  };
  const onPlay = (event) => { // one voice at a time
    const videos = [...document.querySelectorAll(".kling-clips video")];
    videos.filter((other) => other !== event.target).forEach((other) => other.pause());
  };
  if (trouble !== null) {
    return h("div", { className: "kc-screen kc-words" }, h("p", null, `This video could not be loaded: ${trouble}`),
      h(Button, { onClick: tryAgain }, "Try again"));
  }
  // The fragment makes every browser show the first frame before anybody presses play.
  return h("div", { className: "kc-screen", ref: box }, near && h("video", {
    src: `${address}#t=0.001`, preload: "metadata", controls: true, playsInline: true,
    "aria-label": `Clip of ${nameOf(clip)}`, onError, onPlay, onLoadedData: () => { loaded.current = true; },
  }));
}

/** Where a clip is seen: its video, or in words why there is none. */
function Screen({ clip }) {
  if (clip.playable) return h(Video, { key: clip.kling_task_id, clip });
  return h("div", { className: `kc-screen kc-words ${clip.under_way ? "kc-working" : ""}` }, h(Reasons, { clip }));
}

/** One clip in the grid. */
function Card({ clip, now }) {
  const age = !clip.under_way && clip.began_at != null && `${inWords(now - clip.began_at)} ago`;
  const length = clip.duration != null && measured(clip.duration);
  return h("li", { className: "kc-card" }, h(Screen, { clip }),
    h("div", { className: "kc-body" },
      h("div", { className: "kc-head" }, h(Badge, { clip, now }), [length, age].filter(Boolean).join(" · ")),
      h("h2", null, h(PageLink, { to: clipPage(clip) }, nameOf(clip))),
      clip.playable && h(Reasons, { clip }),
      h(Facts, { rows: [...placeOf(clip), ...costOf(clip), ["API", orderOf(clip)]] })));
}

// ------------------------------------------------------------------------------------------ the pages

/** Filters, cards and pages: the whole gallery, or with `dagId` the clips of one Dag. */
function Gallery({ dagId }) {
  const [filter, setFilters] = useFilters();
  const known = (name, options) => (options.some(([key]) => key === filter(name)) ? filter(name) : "");
  const [dag, state, days] = [dagId ?? filter("dag"), known("state", STATE_FILTERS), known("days", TIME_FILTERS)];
  const offset = Math.max(0, Number.parseInt(filter("offset"), 10) || 0);
  const address = withQuery("api/clips", { dag_id: dag, state, days, limit: PAGE, offset });
  const pause = (answer) => (answer.clips.some((clip) => clip.under_way) ? REFRESH : REFRESH_IDLE);
  const { data, error, now, reload, changing } = useLoaded(address, pause);
  const choose = (name) => (value) => setFilters({ [name]: value, offset: "" });
  const clear = () => setFilters({ dag: "", state: "", days: "", offset: "" });
  const dags = [...new Set([...(data?.dags ?? []), ...(dag ? [dag] : [])])].sort().map((key) => [key, key]);
  const keyOf = (clip) => JSON.stringify([clip.dag_id, clip.run_id, clip.task_id, clip.map_index]);
  return h("section", { "aria-label": "Clips" },
    h("div", { className: "kc-bar" },
      !dagId && h(Choice, { label: "Dag", value: dag, options: [["", "All Dags"], ...dags], onChange: choose("dag") }),
      h(Choice, { label: "State", value: state, options: STATE_FILTERS, onChange: choose("state") }),
      h(Choice, { label: "Changed", value: days, options: TIME_FILTERS, onChange: choose("days") }),
      h("span", { className: "kc-space" }),
      data && h("span", { className: "kc-muted" }, `As of ${new Date(now * 1000).toLocaleTimeString()}`),
      h(Button, { onClick: reload }, "Refresh")),
    error && h(ErrorNotice, { error, retry: reload, stale: data !== null }),
    data === null && !error && h(Skeleton),
    data !== null && h("div", { "aria-busy": changing, className: changing ? "kc-changing" : undefined },
      h(Pages, { data, turn: (to) => setFilters({ offset: to > 0 ? String(to) : "" }) },
        data.clips.length === 0
          ? h(Empty, { filtered: Boolean(state || days || offset || (dag && !dagId)), dagId, clear })
          : h("ul", { className: "kc-grid" }, data.clips.map((clip) => h(Card, { key: keyOf(clip), clip, now }))))));
}

/** What is shown of how many, and the ways to newer and older ones. */
function Pages({ data, turn, children }) {
  const { clips, total, offset, limit } = data;
  const working = clips.filter((clip) => clip.under_way).length;
  const range = clips.length === 0 ? "No clips" : `${offset + 1}–${offset + clips.length} of ${total}`;
  const buttons = total > limit && h("nav", { className: "kc-actions", "aria-label": "Pages" },
    h(Button, { disabled: offset === 0, onClick: () => turn(offset - limit) }, "Newer"),
    h(Button, { disabled: offset + clips.length >= total, onClick: () => turn(offset + limit) }, "Older"));
  return h(Fragment, null,
    h("div", { className: "kc-bar" },
      h("span", { role: "status", "aria-live": "polite" }, working ? `${range}, ${working} under way` : range),
      h("span", { className: "kc-space" }), buttons),
    children,
    clips.length > 6 && buttons && h("div", { className: "kc-bar" }, h("span", { className: "kc-space" }), buttons));
}

/** No clips: what to do about it. */
function Empty({ filtered, dagId, clear }) {
  if (filtered) {
    const text = "There may be others: clear the filters to see all clips.";
    return h(Notice, { title: "No clips match", text }, h(Button, { onClick: clear }, "Clear the filters"));
  }
  const text = dagId
    ? "Run this Dag, and the clips of its Kling tasks appear here."
    : "Run a Dag with a Kling task, and its clips appear here. You see the clips of those Dags that you may read.";
  return h(Notice, { title: "No clips yet", text });
}

/** The clip of one task: large, and its manifest in words. */
function ClipTab({ dagId, runId, taskId, mapIndex }) {
  const params = { run_id: runId, task_id: taskId, map_index: mapIndex ?? "-1" };
  const address = withQuery(`api/dags/${id(dagId)}/clip`, params);
  const { data: clip, error, now, reload } = useLoaded(address, (answer) => (answer.under_way ? REFRESH : null));
  if (error?.status === 404) {
    const text = `${error.message || "Nothing is known of one."} It appears here when a Kling task has ordered one.`;
    return h(Notice, { title: "This task has no clip (yet)", text }, h(Button, { onClick: reload }, "Refresh"));
  }
  return h(Fragment, null,
    error && h(ErrorNotice, { error, retry: reload, stale: clip !== null }),
    clip === null && !error && h(Skeleton, { count: 1 }),
    clip !== null && h("article", { className: "kc-clip" },
      h(Screen, { clip }),
      h("div", { className: "kc-bar" }, h(Badge, { clip, now }), h("span", { className: "kc-space" }),
        clip.playable &&
          h("a", { className: "kc-button", href: videoOf(clip, { download: 1 }), download: "" }, "Download"),
        h(Button, { onClick: reload }, "Refresh")),
      clip.playable && h(Reasons, { clip }),
      h(Manifest, { clip, now })));
}

/** All that is known of a clip, in words. */
function Manifest({ clip, now }) {
  const moment = (at) => at != null && h(Moment, { at, now });
  const took = (seconds) => seconds != null && measured(seconds);
  const copy = (text) => text && h(Copyable, { text });
  const groups = {
    Clip: [["Length", took(clip.duration)], ["Size", clip.size != null && bytes(clip.size)],
      ["File", copy(clip.file)], ["API", orderOf(clip)]],
    Cost: [...costOf(clip), ["Units", clip.units]],
    Times: [["Began", moment(clip.began_at)], ["Created", moment(clip.created_at)],
      ["Updated", moment(clip.updated_at)], ["State since", moment(clip.state_since)],
      ["In the queue", took(clip.queued_seconds)], ["Rendered in", took(clip.rendering_seconds)],
      ["Landed in", took(clip.landing_seconds)]],
    Ids: [["Kling task", copy(clip.kling_task_id)], ["External task", copy(clip.external_task_id)],
      ["Video", copy(clip.video_id)], ["Request", copy(clip.request_id)],
      ["Order's request", copy(clip.submit_request_id)]],
    "In Airflow": [...placeOf(clip), ["Task's state", clip.task_state], ["Try", clip.try_number]],
  };
  const section = ([title, rows]) => h("section", { key: title }, h("h2", null, title),
    rows.some(isKnown) ? h(Facts, { rows }) : h("p", { className: "kc-muted" }, "Not known."));
  return h("div", { className: "kc-manifest" }, Object.entries(groups).map(section));
}

/** What the clips of a Dag cost, above the clips. */
function DagTab({ dagId }) {
  const [filter, setFilters] = useFilters();
  const days = COST_DAYS.some(([key]) => key === filter("cost_days")) ? filter("cost_days") : "30";
  const { data, error, reload } = useLoaded(withQuery(`api/dags/${id(dagId)}/costs`, { days }), () => REFRESH_IDLE);
  const day = (row) => new Date(`${row.day}T12:00:00`).toLocaleDateString(undefined, { dateStyle: "medium" });
  const run = (row) => h(PageLink, { to: runPage({ dag_id: dagId, run_id: row.run_id }) }, row.run_id);
  const choose = (value) => setFilters({ cost_days: value });
  return h(Fragment, null,
    h("section", { "aria-label": "Costs" },
      h("div", { className: "kc-bar" }, h("h2", null, "Costs"), h("span", { className: "kc-space" }),
        h(Choice, { label: "Time", value: days, options: COST_DAYS, onChange: choose }),
        h(Button, { onClick: reload, "aria-label": "Refresh the costs" }, "Refresh")),
      error && h(ErrorNotice, { error, retry: reload, stale: data !== null }),
      data === null && !error && h("div", { className: "kc-notice", role: "status" }, "Loading the costs …"),
      data?.total.clips === 0 &&
        h(Notice, { title: "No costs", text: "No clip of this Dag was ordered in this time." }),
      data?.total.clips > 0 && h("div", { className: "kc-costs" },
        h(Costs, { title: "By day", first: "Day (UTC)", rows: data.days, total: data.total, name: day }),
        h(Costs, { title: "By run", first: "Run", rows: data.runs, total: data.total, name: run }))),
    h("h2", null, "Clips"),
    h(Gallery, { dagId }));
}

/** One table of costs, the longer bar for the larger amount; the first ten rows until more are asked for. */
function Costs({ title, first, rows, total, name }) {
  const [all, setAll] = useState(false);
  const most = {};
  for (const { estimated, actual } of rows) {
    for (const [currency, amount] of [...Object.entries(estimated), ...Object.entries(actual)]) {
      most[currency] = Math.max(most[currency] ?? 0, Number(amount));
    }
  }
  const line = (row, label, bars) => [h("th", { key: 0, scope: "row" }, label), h("td", { key: 1 }, row.clips),
    h("td", { key: 2 }, h(Amounts, { amounts: row.estimated, most: bars, hollow: true })),
    h("td", { key: 3 }, h(Amounts, { amounts: row.actual, most: bars }))];
  return h("div", { className: "kc-table" },
    h("table", null, h("caption", null, title),
      h("thead", null, h("tr", null,
        [first, "Clips", "Estimated", "Deducted"].map((text) => h("th", { key: text, scope: "col" }, text)))),
      h("tbody", null, rows.slice(0, all ? rows.length : 10).map((row) =>
        h("tr", { key: row.day ?? row.run_id }, line(row, name(row), most)))),
      h("tfoot", null, h("tr", null, line(total, "Total", null)))),
    rows.length > 10 && !all && h(Button, { onClick: () => setAll(true) }, `Show all ${rows.length}`));
}

/** Amounts by currency, each with a bar beneath when there is something to measure it by. */
function Amounts({ amounts, most, hollow }) {
  const entries = Object.entries(amounts);
  if (entries.length === 0) return h("span", { className: "kc-muted" }, "not known");
  const bar = (currency, amount) => {
    const width = `${Math.max(0, (100 * Number(amount)) / most[currency])}%`;
    return h("div", { className: hollow ? "kc-measure kc-hollow" : "kc-measure", style: { width }, "aria-hidden": true });
  };
  return entries.map(([currency, amount]) => h("div", { key: currency, className: "kc-amount" },
    money(amount, currency), most?.[currency] > 0 && bar(currency, amount)));
}

// --------------------------------------------------------------------------------------------- styles

/** A colour of Airflow's theme, with one of our own for light and dark where the theme has none. */
const token = (name, light, dark) => `var(--chakra-colors-${name}, light-dark(${light}, ${dark}))`;
const badge = (name, [light, onLight], [dark, onDark]) => `.kc-${name} {
  background: ${token(`${name}-subtle`, light, dark)}; color: ${token(`${name}-fg`, onLight, onDark)}; }`;

const STYLES = `
.kling-clips { --kc-bg: ${token("bg", "#fff", "#14181f")}; --kc-soft: ${token("bg-muted", "#f1f3f6", "#222934")};
  --kc-fg: ${token("fg", "#1c2430", "#f2f5f9")}; --kc-muted: ${token("fg-muted", "#536070", "#a9b4c2")};
  --kc-line: ${token("border", "#dde2e9", "#313a47")}; --kc-edge: ${token("border-emphasized", "#b8c1cd", "#4d5868")};
  --kc-link: ${token("fg-info", "#1d5fd1", "#8ab8ff")}; --kc-bad: ${token("red-fg", "#991919", "#fca5a5")};
  container-type: inline-size; color: var(--kc-fg); font-size: 14px; line-height: 1.45; padding: 8px 12px; }
.kling-clips h1 { font-size: 20px; font-weight: 600; margin: 0 0 8px; }
.kling-clips h2 { font-size: 14px; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
.kling-clips p { margin: 0; overflow-wrap: anywhere; }
.kling-clips a { color: var(--kc-link); text-decoration: none; }
.kling-clips a:hover { text-decoration: underline; }
.kling-clips :focus-visible { outline: 2px solid var(--kc-link); outline-offset: 2px; }
.kc-muted { color: var(--kc-muted); }
.kc-bar, .kc-actions { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 12px; }
.kc-bar { margin: 8px 0; min-height: 32px; }
.kc-space { flex: 1; }
.kc-choice { display: inline-flex; align-items: center; gap: 6px; color: var(--kc-muted); max-width: 100%; }
.kc-choice select { min-width: 0; max-width: 260px; height: 32px; padding: 0 8px; color: var(--kc-fg); }
.kc-choice select, .kling-clips .kc-button { background: var(--kc-bg); border: 1px solid var(--kc-edge);
  border-radius: 4px; }
.kling-clips .kc-button { display: inline-flex; align-items: center; height: 32px; padding: 0 12px;
  font-weight: 500; color: var(--kc-fg); cursor: pointer; }
.kling-clips .kc-button:hover:not(:disabled) { background: var(--kc-soft); text-decoration: none; }
.kling-clips .kc-button:disabled { opacity: 0.45; cursor: default; }
.kc-grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 270px), 1fr)); gap: 16px;
  list-style: none; margin: 0; padding: 0; }
.kc-changing { opacity: 0.5; }
.kc-card { display: flex; flex-direction: column; min-width: 0; border: 1px solid var(--kc-line);
  border-radius: 8px; overflow: hidden; background: var(--kc-bg); }
.kc-screen { position: relative; aspect-ratio: 4 / 3; background: #0b0e13; overflow: hidden; }
.kc-screen video { width: 100%; height: 100%; object-fit: contain; }
.kc-words { display: flex; flex-direction: column; align-items: center; justify-content: safe center; gap: 8px;
  padding: 12px; overflow: auto; text-align: center; background: var(--kc-soft); color: var(--kc-muted); }
.kc-words .kc-button { flex: none; }
.kc-working::after { content: ""; position: absolute; inset: auto 0 0; height: 3px; background: var(--kc-link);
  opacity: 0.6; }
.kc-body { display: flex; flex-direction: column; gap: 6px; padding: 12px; }
.kc-head { display: flex; flex-wrap: wrap; justify-content: space-between; align-items: center; gap: 4px 8px;
  color: var(--kc-muted); font-size: 13px; }
.kc-badge { padding: 1px 8px; border-radius: 4px; font-size: 12px; font-weight: 500; line-height: 20px; }
.kling-clips .kc-reason { color: var(--kc-bad); }
.kc-facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 2px 12px; margin: 0;
  font-size: 13px; }
.kc-facts dt { color: var(--kc-muted); font-weight: 400; }
.kc-facts dd { margin: 0; overflow-wrap: anywhere; }
.kc-card .kc-facts { grid-template-columns: 68px minmax(0, 1fr); }
.kc-card .kc-facts a { display: block; width: fit-content; max-width: 100%; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.kc-notice { border: 1px solid var(--kc-line); border-radius: 8px; padding: 24px 16px; margin: 8px 0;
  text-align: center; color: var(--kc-muted); }
.kc-notice strong { color: var(--kc-fg); font-weight: 600; }
.kc-notice .kc-actions { justify-content: center; margin-top: 12px; }
.kc-alert { border-color: var(--kc-bad); }
.kc-skeleton i { display: block; height: 14px; border-radius: 4px; background: var(--kc-soft); }
.kc-skeleton i:last-child { width: 60%; }
.kc-skeleton .kc-screen { background: var(--kc-soft); }
.kc-clip { max-width: 1100px; }
.kc-clip > .kc-screen { border-radius: 8px; aspect-ratio: 16 / 9; max-height: 60vh; width: 100%; }
.kc-clip > .kc-words { aspect-ratio: auto; min-height: 120px; }
.kc-manifest { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr));
  gap: 20px 32px; margin-top: 16px; }
.kc-manifest h2, .kc-table caption { padding-bottom: 4px; margin-bottom: 6px;
  border-bottom: 1px solid var(--kc-line); }
.kc-copyable { display: inline-flex; flex-wrap: wrap; align-items: center; gap: 2px 8px; }
.kc-copyable code { font-size: 12px; overflow-wrap: anywhere; background: none; }
.kling-clips .kc-copyable .kc-button { height: 22px; padding: 0 8px; font-size: 12px; }
.kc-costs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 16px 32px;
  margin-bottom: 24px; }
.kc-table { min-width: 0; overflow-x: auto; }
.kc-table table { width: 100%; border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums;
  margin-bottom: 8px; }
.kc-table caption { text-align: left; font-weight: 600; }
.kc-table th, .kc-table td { padding: 4px 12px 4px 0; text-align: left; vertical-align: top; font-weight: 400; }
.kc-table th[scope=row], .kc-table th a { overflow-wrap: anywhere; word-break: break-word; }
.kc-table td { white-space: nowrap; }
.kc-table thead th { color: var(--kc-muted); }
.kc-table tfoot th, .kc-table tfoot td { border-top: 1px solid var(--kc-line); font-weight: 600; }
.kc-amount { min-width: 72px; }
.kc-measure { height: 6px; margin-top: 2px; border: 1px solid var(--kc-link); background: var(--kc-link);
  border-radius: 2px; }
.kc-hollow { background: none; }
@container (max-width: 420px) {
  .kc-choice { width: 100%; }
  .kc-choice span { width: 52px; }
  .kc-choice select { flex: 1; max-width: none; }
}
@media (prefers-reduced-motion: no-preference) {
  .kc-skeleton { animation: kc-breathe 1.6s ease-in-out infinite; }
  .kc-working::after { animation: kc-breathe 1.6s ease-in-out infinite; }
  .kc-changing { transition: opacity 0.2s; }
  @keyframes kc-breathe { 50% { opacity: 0.25; } }
}
${badge("gray", ["#e8ebef", "#374151"], ["#2c3440", "#d5dbe3"])}
${badge("green", ["#dcfce7", "#116932"], ["#042713", "#86efac"])}
${badge("red", ["#fee2e2", "#991919"], ["#3a0d0d", "#fca5a5"])}
${badge("orange", ["#ffedd5", "#92310a"], ["#3b1106", "#fdba74"])}
${badge("blue", ["#dbeafe", "#173da6"], ["#14204a", "#a3cfff"])}
`;

// -------------------------------------------------------------------------------------- for Airflow

/** What Airflow renders: which page it is follows from where the UI has put it. */
function KlingClips({ dagId, runId, taskId, mapIndex }) {
  const page = taskId && dagId && runId
    ? h(ClipTab, { key: JSON.stringify([dagId, runId, taskId, mapIndex]), dagId, runId, taskId, mapIndex })
    : dagId
      ? h(DagTab, { key: dagId, dagId })
      : h(Fragment, null, h("h1", null, "Kling clips"), h(Gallery));
  return h("div", { className: "kling-clips" }, h("style", null, STYLES), page);
}

// Airflow looks for the name of the entry that it shows, and takes `AirflowPlugin` where there is none.
for (const name of ["Kling clips", "Kling clip", "Kling clips of this Dag", "AirflowPlugin"]) {
  globalThis[name] = KlingClips;
}
