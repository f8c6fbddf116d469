// Notifications of this device: the question in the list of chats, and the settings.
import { t } from "../i18n/index.js";
import { isUndecided, needsHomeScreen, notNow, push, tryOut, turnOff, turnOn } from "../state/push.js";
import { account, changeSettings } from "../state/settings.js";
import { attempt } from "./failure.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Block, Line, Switch } from "./page.js";
import { toast } from "./toast.js";

// The browser has its own errors for what it does not do.
const turn = (isOn) => attempt(async () => {
  try {
    await (isOn ? turnOn() : turnOff());
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    toast(t("push_failed"));
  }
});

/** Asks whether this device is to notify; on an iPhone says what has to be done before. */
export function AskForPush() {
  if (!isUndecided()) return null;
  return html`
    <div class="ask" role="group" aria-label=${t("push")}>
      <${Icon} name=${needsHomeScreen ? "share" : "bell"} />
      <p>${needsHomeScreen ? t("push_home_screen") : t("push_ask")}</p>
      <div class="ask__buttons">
        ${needsHomeScreen
          ? html`<button class="link" type="button" onClick=${notNow}>${t("understood")}</button>`
          : html`<button class="link" type="button" onClick=${() => turn(true)}>${t("push_yes")}</button>
              <button class="link muted" type="button" onClick=${notNow}>${t("not_now")}</button>`}
      </div>
    </div>`;
}

const NOTES = { denied: "push_denied", impossible: "push_impossible" };

export function Notices() {
  const state = push.value;
  const note = needsHomeScreen ? t("push_home_screen") : NOTES[state] && t(NOTES[state]);
  const isFull = account.value?.push_text === "full";
  return html`
    <${Block} title=${t("push_here")} note=${note}>
      <${Switch} text=${t("push_send")} hint=${t("push_send_hint")} value=${state === "on"} disabled=${state === "denied" || state === "impossible"} onChange=${turn} />
      ${state === "on" && html`<${Line} icon="bell" text=${t("push_try")} onClick=${() => attempt(async () => (await tryOut(), toast(t("push_tried"))))} />`}
    <//>
    <${Block} title=${t("push_everywhere")}>
      <${Switch} text=${t("push_text")} hint=${t("push_text_hint")} value=${isFull} disabled=${!account.value}
        onChange=${(value) => attempt(() => changeSettings({ push_text: value ? "full" : "none" }))} />
    <//>`;
}
