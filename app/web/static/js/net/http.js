// Requests to the API, in the name of whoever is logged in.
import { lang } from "../i18n/index.js";
import { takeEarly } from "./early.js";

/** The server refused; `code` is for programs, `message` a sentence for people. */
export class Problem extends Error {
  constructor(/** @type {Response} */ response, /** @type {any} */ body) {
    super(body?.detail ?? response.statusText);
    this.status = response.status;
    this.code = body?.code ?? "";
    /** @type {Record<string, string[]>} Sentences by field. */
    this.errors = body?.errors ?? {};
    this.requestId = response.headers.get("X-Request-ID");
    this.retryAfter = Number(response.headers.get("Retry-After") ?? 0);
  }
}

/** There was no answer, or none that means anything: try again later. */
export class Unreachable extends Error {}

/** The access token. It is here and nowhere else; the refresh token is in an HttpOnly cookie. */
let access = "";
let refreshing;
let onLoggedOut = () => {};

export const whenLoggedOut = (/** @type {() => void} */ callback) => (onLoggedOut = callback);

export function setToken(/** @type {string} */ token) {
  access = token;
}

/**
 * A good access token, asked for if there is none.
 * @param {string} [stale] One that was just refused.
 */
export async function token(stale) {
  if (access && access !== stale) return access;
  refreshing ??= refresh().finally(() => (refreshing = undefined));
  return refreshing;
}

async function refresh() {
  const body = { method: "POST", body: JSON.stringify({ cookie: true }) };
  const response =
    (await takeEarly("token")) ?? (await send("/accounts/api/token/refresh/", body, { "Content-Type": "application/json" }));
  if (!response.ok) {
    access = "";
    const problem = await problemOf(response);
    if (response.status === 400 || response.status === 401) onLoggedOut();
    throw problem;
  }
  access = (await response.json()).access;
  return access;
}

/**
 * Sends a request and returns its answer, once more with a new token if the first was refused.
 * @param {string} method
 * @param {string} path
 * @param {{json?: any, form?: FormData, signal?: AbortSignal, anonymous?: boolean}} [options]
 * @returns {Promise<Response>}
 */
export async function request(method, path, { json, form, signal, anonymous } = {}) {
  const headers = json === undefined ? {} : { "Content-Type": "application/json" };
  const options = { method, body: json === undefined ? form : JSON.stringify(json), signal };
  if (anonymous) return checked(await send(path, options, headers));
  return authorized((authorization) => send(path, options, { ...headers, Authorization: authorization }));
}

/**
 * Does something in the name of whoever is logged in, once more with a new token if the first was refused.
 * @param {(authorization: string) => Promise<Response>} action
 */
export async function authorized(action) {
  const first = await token();
  let response = await action(`Bearer ${first}`);
  if (response.status === 401) response = await action(`Bearer ${await token(first)}`);
  return checked(response);
}

/** A new token, and with it new cookies for what sends no header. */
export const renew = () => token(access);

export const commonHeaders = () => ({ Accept: "application/json", "Accept-Language": lang.value });

const data = async (response) => (response.status === 204 ? undefined : response.json());

export const get = async (path, options) => data(await request("GET", path, options));
export const post = async (path, json, options) => data(await request("POST", path, { json, ...options }));
export const patch = async (path, json, options) => data(await request("PATCH", path, { json, ...options }));
export const remove = async (path, json) => data(await request("DELETE", path, { json }));

async function send(path, options, headers) {
  try {
    return await fetch(path, {
      ...options,
      headers: { ...commonHeaders(), ...headers },
      cache: "no-store",
      redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unreachable(error.message);
  }
}

async function checked(response) {
  if (response.ok) return response;
  throw await problemOf(response);
}

async function problemOf(response) {
  const body = await response.json().catch(() => undefined); // a proxy may answer with anything
  if (response.status >= 500 && !body?.code) return new Unreachable(`${response.status}`);
  return new Problem(response, body);
}

/** Whether it is worth to try the same again later, without anybody doing anything. */
export const isPassing = (error) =>
  error instanceof Unreachable || (error instanceof Problem && error.status >= 500);
