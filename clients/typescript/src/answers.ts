/** Answers of linkpool read into values and errors. */

import { BY_NAME, LinkpoolError, Problem, UnusableAnswer } from "./errors.js";
import type { ProblemBody } from "./errors.js";

const PROBLEM_TYPE = "/problems/";
const SAID_CHARACTERS = 200; // of an answer that is not linkpool's, in an error's message

/** One answer whose body has arrived. */
export interface Answer {
  status: number;
  headers: Headers;
  text: string;
}

/** Return the JSON object of an answer; throw UnusableAnswer if it lacks one of the fields. */
export function object<T>(answer: Answer, ...fields: (keyof T & string)[]): T {
  const body = parsed(answer.text);
  if (!isObject(body) || fields.some((field) => !(field in body))) throw unusable(answer);
  return body as T;
}

/** Return the error for a problem document, of the class of its name. */
export function problem(body: Partial<ProblemBody>, headers?: Headers): Problem {
  const said = String(body.type ?? "");
  const name = said.slice(said.lastIndexOf(PROBLEM_TYPE) + PROBLEM_TYPE.length);
  const Kind = Object.hasOwn(BY_NAME, name) ? BY_NAME[name]! : Problem;
  const requestId = headers?.get("x-request-id") ?? undefined;
  return new Kind(name, body, headers && retryAfterSeconds(headers), requestId);
}

/** Return the error for an answer that is no success. */
export function error(answer: Answer): LinkpoolError {
  const body = parsed(answer.text);
  if (isObject(body) && String(body["type"] ?? "").includes(PROBLEM_TYPE))
    return problem({ status: answer.status, ...body }, answer.headers);
  return unusable(answer);
}

/** Return the error for an answer that linkpool does not send. */
export function unusable(answer: Answer): UnusableAnswer {
  const said = answer.text.replace(/\s+/g, " ").trim().slice(0, SAID_CHARACTERS);
  return new UnusableAnswer(
    `${answer.status} is not an answer of linkpool's: ${said || "an empty body"}`,
    answer.status,
  );
}

/** Return what `Retry-After` asks for, in seconds or as a date. */
export function retryAfterSeconds(headers: Headers): number | undefined {
  const said = headers.get("retry-after")?.trim() ?? "";
  if (/^\d+$/.test(said)) return Number(said);
  const at = said === "" ? NaN : Date.parse(said);
  return Number.isNaN(at) ? undefined : Math.max(0, (at - Date.now()) / 1000);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
