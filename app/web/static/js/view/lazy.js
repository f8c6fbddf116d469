// Views that are loaded when they are first wanted, so that the page itself is light.
import { useEffect, useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import { html } from "./html.js";
import { toast } from "./toast.js";

/** A view that is fetched with its first use. @param {() => Promise<any>} load Gives the component. */
export function lazy(load) {
  let found;
  return function Lazy(props) {
    const [View, setView] = useState(() => found);
    useEffect(() => {
      if (!View) wanted(load).then((view) => setView(() => (found = view)), () => {});
    }, []);
    return View ? html`<${View} ...${props} />` : null;
  };
}

/** Loads something; says so if that does not work. */
async function wanted(load) {
  try {
    return await load();
  } catch (error) {
    toast(t("unreachable"));
    throw error;
  }
}

export const showNewChat = () => wanted(async () => (await import("./newchat.js")).showNewChat());
export const showSwitcher = () => wanted(async () => (await import("./switcher.js")).showSwitcher());
export const showViewer = (message, fileId) => wanted(async () => (await import("./viewer.js")).showViewer(message, fileId));
export const showKeys = () => wanted(async () => (await import("./keylist.js")).showKeys());
