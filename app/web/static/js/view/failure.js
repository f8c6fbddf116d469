// What is said when something did not work.
import { t } from "../i18n/index.js";
import { Problem, Unreachable } from "../net/http.js";
import { toast } from "./toast.js";

/** A sentence for people. An error that nobody expected is thrown on. */
export function sentenceOf(error) {
  if (error instanceof Problem) return error.message;
  if (error instanceof Unreachable) return t("unreachable");
  throw error;
}

/** Does something; if it fails, says so in a toast. Returns whether it was done. */
export async function attempt(/** @type {() => any} */ action) {
  try {
    await action();
    return true;
  } catch (error) {
    toast(sentenceOf(error));
    return false;
  }
}
