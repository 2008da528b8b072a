import type { ReplyDocument, Spec } from "./view";

export interface VariableSummary {
  readonly name: string;
  readonly kind: string;
  readonly units: string;
}

export interface BundleSummary {
  readonly name: string;
  readonly version: string;
  readonly variables: readonly VariableSummary[];
}

export interface Manifest {
  readonly layout: { readonly variables: readonly Spec[] };
}

export interface FillQuery {
  readonly bundle: string;
  readonly maxGap: number | null;
}

/** A problem document (RFC 9457): the form of every error of the server. */
export interface Problem {
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly request_id?: string;
  readonly errors?: readonly { readonly pointer: string; readonly detail: string }[];
}

export class ProblemError extends Error {
  constructor(
    readonly problem: Problem,
    readonly retryAfterS: number | null,
  ) {
    super(problem.detail);
  }
}

export class Cancelled extends Error {}

export interface Sending {
  readonly signal: AbortSignal;
  /** Called with the share of the body that has been sent, 0 to 1. */
  readonly onSent?: (share: number) => void;
}

const NETCDF = "application/x-netcdf";

export const url = (path: string): string => new URL(path, document.baseURI).href;

export function query(fill: FillQuery): string {
  const pairs = new URLSearchParams({ bundle: fill.bundle });
  if (fill.maxGap !== null) pairs.set("max_gap", String(fill.maxGap));
  return pairs.toString();
}

async function getJson<T>(path: string): Promise<T> {
  const reply = await fetch(url(path), { headers: { Accept: "application/json" } }).catch(() => {
    throw unreachable();
  });
  if (!reply.ok) throw await problemOf(reply.status, await reply.text(), reply.headers.get("Retry-After"));
  return (await reply.json()) as T;
}

export async function listBundles(): Promise<readonly BundleSummary[]> {
  return (await getJson<{ bundles: BundleSummary[] }>("bundles")).bundles;
}

export const showBundle = (name: string): Promise<Manifest> => getJson(`bundles/${encodeURIComponent(name)}`);

export async function fetchSample(): Promise<Blob> {
  const reply = await fetch(url("page/sample.nc")).catch(() => {
    throw unreachable();
  });
  if (!reply.ok) throw await problemOf(reply.status, await reply.text(), null);
  return reply.blob();
}

/** The file as the server reads it: gaps are flagged, nothing is filled. */
export async function preview(file: Blob, bundle: string | null, sending: Sending): Promise<ReplyDocument> {
  const path = bundle === null ? "page/preview" : `page/preview?${new URLSearchParams({ bundle })}`;
  return JSON.parse(await (await post(path, file, "application/json", sending)).text()) as ReplyDocument;
}

export async function reconstruct(file: Blob, fill: FillQuery, sending: Sending): Promise<ReplyDocument> {
  const reply = await post(`reconstruct?${query(fill)}`, file, "application/json", sending);
  return JSON.parse(await reply.text()) as ReplyDocument;
}

export const reconstructFile = (file: Blob, fill: FillQuery, sending: Sending): Promise<Blob> =>
  post(`reconstruct?${query(fill)}`, file, NETCDF, sending);

/** The seconds of engine time that the server predicts. */
export async function estimateSeconds(file: Blob, fill: FillQuery, sending: Sending): Promise<number> {
  const reply = await post(`estimate?${query(fill)}`, file, "application/json", sending);
  return (JSON.parse(await reply.text()) as { predicted_s: number }).predicted_s;
}

/** Sends the file by XMLHttpRequest: fetch does not report how much of a body has been sent. */
function post(path: string, file: Blob, accept: string, sending: Sending): Promise<Blob> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const cancel = (): void => request.abort();
    request.open("POST", url(path));
    request.responseType = "blob";
    request.setRequestHeader("Content-Type", NETCDF);
    request.setRequestHeader("Accept", accept);
    request.upload.onprogress = (event) => sending.onSent?.(event.lengthComputable ? event.loaded / event.total : 0);
    request.onload = async () => {
      sending.signal.removeEventListener("abort", cancel);
      const body = request.response as Blob;
      if (request.status === 200) resolve(body);
      else reject(await problemOf(request.status, await body.text(), request.getResponseHeader("Retry-After")));
    };
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new Cancelled());
    sending.signal.addEventListener("abort", cancel, { once: true });
    request.send(file);
  });
}

async function problemOf(status: number, text: string, retryAfter: string | null): Promise<ProblemError> {
  const retryAfterS = retryAfter !== null && /^\d+$/.test(retryAfter) ? Number(retryAfter) : null;
  try {
    return new ProblemError(JSON.parse(text) as Problem, retryAfterS);
  } catch {
    const detail = "The reply did not come from the server, but from a proxy or gateway in between.";
    return new ProblemError({ title: `Status ${status}`, status, detail }, retryAfterS);
  }
}

function unreachable(): ProblemError {
  const detail = "The server did not answer. Check that it is running and that the network works.";
  return new ProblemError({ title: "The server cannot be reached", status: 0, detail }, null);
}
