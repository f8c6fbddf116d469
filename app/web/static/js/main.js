// The start of the page.
import { effect } from "@preact/signals";
import { render } from "preact";

import { lang, speak } from "./i18n/index.js";
import { go } from "./state/route.js";
import { resume, status } from "./state/session.js";
import { world } from "./state/world.js";
import { tell } from "./view/attention.js";
import { App } from "./view/app.js";
import { html } from "./view/html.js";
import { listenToKeys } from "./view/keys.js";

speak(lang.value).then(() => {
  resume();
  tell();
  listenToKeys();
  render(html`<${App} />`, document.getElementById("root"));
});

// A notification was tapped.
navigator.serviceWorker?.addEventListener("message", ({ data }) => data.go && go(data.go));

let isKeeping = false;

// The shell is kept once there is something to see, so that nothing competes with the list.
effect(() => {
  if (status.value === "out" || world.value.isListed) keepShell();
});

// The worker is the only script address that this page may make from a text.
function keepShell() {
  if (isKeeping || !navigator.serviceWorker) return; // without https there is none
  isKeeping = true;
  const policy = window.trustedTypes?.createPolicy("beseda", {
    createScriptURL(url) {
      if (url !== "/sw.js") throw new TypeError(url);
      return url;
    },
  });
  const address = policy ? policy.createScriptURL("/sw.js") : "/sw.js";
  const register = () => navigator.serviceWorker.register(address).catch(() => {}); // a private window has none
  requestAnimationFrame(() => setTimeout(register)); // after what is to be seen has been painted
}
