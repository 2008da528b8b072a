import { type Problem, ProblemError } from "./api";
import { at, element } from "./page";

/** Shows a problem of the server in its own words; any other error is shown as a failure of this page. */
export function showProblem(error: unknown): void {
  const box = at("problem");
  const known = error instanceof ProblemError;
  const problem: Problem = known
    ? error.problem
    : { title: "This page failed", status: 0, detail: error instanceof Error ? error.message : String(error) };
  const lines = [element("h2", problem.title), element("p", sentence(problem.detail))];
  const pointers = (problem.errors ?? []).map((e) => e.pointer).filter(Boolean);
  if (pointers.length > 0) lines.push(element("p", `Where: ${pointers.join(", ")}`, "where"));
  if (known && error.retryAfterS !== null) lines.push(element("p", `Try again in ${error.retryAfterS} s.`));
  if (problem.request_id) lines.push(element("p", `Status ${problem.status}, request ${problem.request_id}`, "request"));
  const close = element("button", "Dismiss", "button small");
  close.addEventListener("click", clearProblem);
  box.replaceChildren(...lines, close);
  box.hidden = false;
  box.scrollIntoView({ block: "nearest" });
}

export function clearProblem(): void {
  at("problem").hidden = true;
  at("problem").replaceChildren();
}

const sentence = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
