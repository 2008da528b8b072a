import "uplot/dist/uPlot.min.css";
import "./style.css";
import * as api from "./api";
import { Explorer, countGaps } from "./explorer";
import { announce, at, save } from "./page";
import { clearProblem, showProblem } from "./problems";
import { bytes, count } from "./scale";
import { copy, filledName, snippet } from "./snippet";
import { type ReplyDocument, type View, readView } from "./view";

interface Source {
  readonly file: Blob;
  /** The file's name; null for the built-in sample. */
  readonly name: string | null;
}

const explorer = new Explorer();
const bundles = new Map<string, api.BundleSummary>();
const manifests = new Map<string, api.Manifest>();
let source: Source | null = null;
let view: View | null = null;
let running: AbortController | null = null;
let filledWith: api.FillQuery | null = null;
let filledFile: Blob | null = null;

const fillQuery = (): api.FillQuery => {
  const maxGap = at<HTMLInputElement>("max-gap").valueAsNumber;
  return { bundle: at<HTMLSelectElement>("bundle").value, maxGap: maxGap >= 1 ? Math.floor(maxGap) : null };
};

async function connect(): Promise<void> {
  try {
    for (const bundle of await api.listBundles()) bundles.set(bundle.name, bundle);
    at("bundle").replaceChildren(...[...bundles.values()].map((b) => new Option(`${b.name} ${b.version}`, b.name)));
    showStatus("ready", `Ready, ${bundles.size} model${bundles.size === 1 ? "" : "s"}`);
  } catch (error) {
    showStatus("down", "Not ready");
    throw error;
  }
}

function showStatus(kind: string, text: string): void {
  at("status").dataset["kind"] = kind;
  (at("status").querySelector(".text") as HTMLElement).textContent = text;
}

async function read(reply: ReplyDocument): Promise<View> {
  const name = reply.bundle.name;
  const manifest = manifests.get(name) ?? (await api.showBundle(name));
  manifests.set(name, manifest);
  return readView(reply, manifest.layout.variables);
}

/** Opens a file in the page; with `bundle` null, the server chooses the bundle. */
async function open(chosen: Source, bundle: string | null): Promise<void> {
  const control = start(`Reading ${chosen.name ?? "the sample"}`);
  try {
    if (bundles.size === 0) await connect();
    const reply = await api.preview(chosen.file, bundle, { signal: control.signal, onSent: (part) => showProgress(part * 0.6) });
    const opened = await read(reply);
    const same = source === chosen;
    source = chosen;
    view = opened;
    at<HTMLSelectElement>("bundle").value = reply.bundle.name;
    forgetFill();
    at("start").hidden = true;
    at("work").hidden = false;
    showSource(chosen, opened);
    if (same) explorer.update(opened, false);
    else explorer.open(opened);
    announce(`${chosen.name ?? "The sample"} is open`);
    void showEstimate();
  } finally {
    end(control);
  }
}

function showSource(chosen: Source, shown: View): void {
  at("file-name").textContent = chosen.name ?? "Built-in sample";
  const grid = shown.fields.length > 0 ? [`${shown.y.length} × ${shown.x.length} cells`] : [];
  const sites = shown.series.length > 0 ? [`${shown.sites.length} gauge${shown.sites.length === 1 ? "" : "s"}`] : [];
  const facts = [`${count(shown.time.length)} steps`, ...grid, ...sites];
  at("file-facts").textContent = facts.join(" · ") + (chosen.name === null ? " · synthetic" : "");
}

async function showEstimate(): Promise<void> {
  if (source === null || view === null) return;
  const { gaps, values } = countGaps(view);
  const known = `${count(gaps)} of ${count(values)} values are missing · ${bytes(source.file.size)} to send`;
  at("estimate").textContent = known;
  const sent = source;
  const seconds = await api.estimateSeconds(sent.file, fillQuery(), { signal: new AbortController().signal }).catch(() => null);
  if (seconds !== null && source === sent) {
    at("estimate").textContent = `${known} · about ${seconds < 1 ? "a second" : `${Math.ceil(seconds)} s`} of work`;
  }
}

async function fill(): Promise<void> {
  if (source === null) return;
  const control = start("Filling the gaps");
  const requested = fillQuery();
  try {
    const onSent = (part: number): void => showProgress(part < 1 ? part * 0.3 : null);
    view = await read(await api.reconstruct(source.file, requested, { signal: control.signal, onSent }));
    filledWith = requested;
    filledFile = null;
    explorer.update(view, true);
    at("take").hidden = false;
    at("snippet").textContent = snippet(requested, source.name);
    at("run").textContent = "Fill again";
    announce("The gaps are filled");
  } finally {
    end(control);
  }
}

/** Downloads the filled file as NetCDF; the file is requested once and then kept. */
async function download(): Promise<void> {
  if (source === null || filledWith === null) return;
  if (filledFile === null) {
    const control = start("Writing NetCDF");
    try {
      filledFile = await api.reconstructFile(source.file, filledWith, { signal: control.signal });
    } finally {
      end(control);
    }
  }
  save(filledFile, filledName(source.name));
}

function forgetFill(): void {
  filledWith = null;
  filledFile = null;
  at("take").hidden = true;
  at("run").textContent = "Fill the gaps";
}

let ticking: number | undefined;

function start(what: string): AbortController {
  running?.abort();
  clearProblem();
  const control = new AbortController();
  running = control;
  const began = performance.now();
  const tell = (): void => {
    at("progress-text").textContent = `${what}, ${((performance.now() - began) / 1000).toFixed(0)} s`;
  };
  clearInterval(ticking);
  ticking = window.setInterval(tell, 500);
  tell();
  at("progress").hidden = false;
  at("start").classList.add("busy");
  at<HTMLButtonElement>("run").disabled = true;
  showProgress(null);
  return control;
}

function end(control: AbortController): void {
  if (running !== control) return;
  running = null;
  clearInterval(ticking);
  at("progress").hidden = true;
  at("start").classList.remove("busy");
  at<HTMLButtonElement>("run").disabled = false;
}

/** Shows the share that is done; null if unknown. */
function showProgress(done: number | null): void {
  const track = at("track");
  track.classList.toggle("unknown", done === null);
  if (done === null) track.removeAttribute("aria-valuenow");
  else track.setAttribute("aria-valuenow", String(Math.round(100 * done)));
  at("bar").style.width = done === null ? "" : `${100 * done}%`;
}

/** Runs an action of the reader and shows its error, unless it was cancelled. */
function attempt(work: () => Promise<void>): void {
  work().catch((error: unknown) => {
    if (!(error instanceof api.Cancelled)) showProblem(error);
  });
}

const openFile = (file: File): void => attempt(() => open({ file, name: file.name }, null));

at<HTMLInputElement>("file").addEventListener("change", (event) => {
  const input = event.target as HTMLInputElement;
  const file = input.files?.[0];
  if (file !== undefined) openFile(file);
  input.value = "";
});
at("sample").addEventListener("click", () => attempt(async () => open({ file: await api.fetchSample(), name: null }, null)));
at("run").addEventListener("click", () => attempt(fill));
at("cancel").addEventListener("click", () => running?.abort());
at("download").addEventListener("click", () => attempt(download));
at("bundle").addEventListener("change", () => attempt(async () => {
  if (source !== null) await open(source, fillQuery().bundle);
}));
at("max-gap").addEventListener("change", () => void showEstimate());
at("copy").addEventListener("click", () => attempt(async () => {
  (document.querySelector("#take details") as HTMLDetailsElement).open = true;
  const copied = await copy(at("snippet").textContent ?? "", at("snippet"));
  at("copy").textContent = copied ? "Copied" : "Select and copy";
  announce(copied ? "The program is copied" : "The browser does not allow copying; select the text and copy it");
  setTimeout(() => (at("copy").textContent = "Copy as Python"), 2000);
}));

const hasFile = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
addEventListener("dragover", (event) => {
  if (!hasFile(event)) return;
  event.preventDefault();
  document.body.classList.add("is-dropping");
});
addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("is-dropping");
});
addEventListener("drop", (event) => {
  document.body.classList.remove("is-dropping");
  const file = event.dataTransfer?.files[0];
  if (file === undefined) return;
  event.preventDefault();
  openFile(file);
});

attempt(connect);
