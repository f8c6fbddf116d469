// Says over everything that there is no connection, once that has lasted.
import { useEffect, useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import { connection, wake } from "../net/stream.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";

const PATIENCE_MS = 3000;

export function Banner() {
  const [isShown, setShown] = useState(false);
  const isLive = connection.value === "live";
  useEffect(() => {
    if (isLive) return setShown(false);
    const timer = setTimeout(() => setShown(true), PATIENCE_MS);
    return () => clearTimeout(timer);
  }, [isLive]);
  if (!isShown) return null;
  return html`
    <div class="banner" role="status">
      <${Icon} name="offline" size="20" /><span>${t("offline")}</span>
      <button class="link" type="button" onClick=${wake}>${t("check")}</button>
    </div>`;
}
