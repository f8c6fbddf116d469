// Views whose modules run when they are first wanted, so that the list of chats is there sooner.
import { useEffect, useState } from "preact/hooks";

import { html } from "./html.js";

/** A view that begins with its first use. @param {() => Promise<any>} load Gives the component. */
export function lazy(load) {
  let found;
  return function Lazy(props) {
    const [View, setView] = useState(() => found);
    useEffect(() => {
      if (!View) load().then((view) => setView(() => (found = view)));
    }, []);
    return View ? html`<${View} ...${props} />` : null;
  };
}

export const showNewChat = async () => (await import("./newchat.js")).showNewChat();
export const showSwitcher = async () => (await import("./switcher.js")).showSwitcher();
export const showViewer = async (message, fileId) => (await import("./viewer.js")).showViewer(message, fileId);
export const showKeys = async () => (await import("./keylist.js")).showKeys();
