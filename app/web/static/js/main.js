// The start of the page.
import { render } from "preact";

import { lang, speak } from "./i18n/index.js";
import { askService, resume } from "./state/session.js";
import { tell } from "./view/attention.js";
import { App } from "./view/app.js";
import { html } from "./view/html.js";
import { listenToKeys } from "./view/keys.js";

await speak(lang.value);
resume();
askService().catch(() => {}); // what is usual stands until the server says otherwise
tell();
listenToKeys();
render(html`<${App} />`, document.getElementById("root"));
keepShell();

// The worker is the only script address that this page may make from a text.
function keepShell() {
  if (!navigator.serviceWorker) return; // without https there is none
  const policy = window.trustedTypes?.createPolicy("beseda", {
    createScriptURL(url) {
      if (url !== "/sw.js") throw new TypeError(url);
      return url;
    },
  });
  const address = policy ? policy.createScriptURL("/sw.js") : "/sw.js";
  const register = () => navigator.serviceWorker.register(address).catch(() => {}); // a private window has none
  if (document.readyState === "complete") register();
  else addEventListener("load", register);
}
