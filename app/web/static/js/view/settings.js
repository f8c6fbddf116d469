// One's own: which section of the settings is shown, and the short ones among them.
import { chooseLanguage, lang, t } from "../i18n/index.js";
import { blocked, setBlocked } from "../state/people.js";
import { logOut } from "../state/session.js";
import { account, changeSettings, enterSends, setEnterSends, setShowTyping, setTheme, showTyping, theme } from "../state/settings.js";
import { outbox } from "../state/outbox.js";
import { ask } from "./ask.js";
import { attempt } from "./failure.js";
import { Choice } from "./form.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Keys } from "./keylist.js";
import { Data, Safety, Sessions } from "./account.js";
import { Notices } from "./notices.js";
import { Block, Line, Page, SideNav, Switch } from "./page.js";
import { ProfileForm } from "./profileform.js";

const SECTIONS = [
  { key: "profile", icon: "person", Body: ProfileForm },
  { key: "look", icon: "sliders", Body: Look },
  { key: "push", icon: "bell", Body: Notices },
  { key: "private", icon: "eye", Body: Privacy },
  { key: "sessions", icon: "desktop", Body: Sessions },
  { key: "safe", icon: "lock", Body: Safety },
  { key: "data", icon: "download", Body: Data },
  { key: "keys", icon: "keyboard", Body: Keys },
];

export function SettingsNav({ section }) {
  const items = SECTIONS.map(({ key, icon }) => ({ key, icon, label: t(`settings_${key}`), path: `/settings/${key}` }));
  const out = { key: "out", icon: "door", label: t("log_out"), danger: true, run: askToLogOut };
  return html`<${SideNav} title=${t("you")} items=${[...items, out]} current=${section} />`;
}

export function Settings({ section }) {
  const found = SECTIONS.find(({ key }) => key === section);
  if (!found) {
    return html`<div class="main" id="main"><div class="empty"><${Icon} name="sliders" extra="empty__icon" /><h2 class="empty__title">${t("choose_section")}</h2></div></div>`;
  }
  return html`<${Page} title=${t(`settings_${section}`)} up="/settings"><${found.Body} /><//>`;
}

// What was not sent would go with everything else of this device, so that is said first.
function askToLogOut() {
  if (!outbox.peek().length) return attempt(logOut);
  ask({ title: t("log_out_question"), text: t("log_out_text", { n: outbox.peek().length }), no: t("stay"), yes: t("log_out"), run: logOut });
}

const changeLanguage = (value) => {
  chooseLanguage(value);
  attempt(() => changeSettings({ language: value }));
};

function Look() {
  return html`
    <${Block} title=${t("look")}>
      <${Line} icon="moon" text=${t("theme")} extra="line--stack" right=${html`<${Choice} label=${t("theme")} value=${theme.value} onChoose=${setTheme}
        items=${[["system", t("theme_system")], ["light", t("theme_light")], ["dark", t("theme_dark")]]} />`} />
      <${Line} icon="globe" text=${t("language")} extra="line--stack" right=${html`<${Choice} label=${t("language")} value=${lang.value} onChoose=${changeLanguage}
        items=${[["ru", "Русский"], ["en", "English"]]} />`} />
    <//>
    <${Block} title=${t("writing")}>
      <${Switch} text=${t("enter_sends")} hint=${t("enter_sends_hint")} value=${enterSends.value} onChange=${setEnterSends} />
      <${Switch} text=${t("show_typing")} value=${showTyping.value} onChange=${setShowTyping} />
    <//>`;
}

function Privacy() {
  const names = [...blocked.value].sort((a, b) => a.localeCompare(b));
  const set = (key) => (value) => attempt(() => changeSettings({ [key]: value }));
  return html`
    <${Block}>
      <${Switch} text=${t("show_presence")} hint=${t("show_presence_hint")} value=${account.value?.show_presence} disabled=${!account.value} onChange=${set("show_presence")} />
      <${Switch} text=${t("show_read")} hint=${t("show_read_hint")} value=${account.value?.show_read} disabled=${!account.value} onChange=${set("show_read")} />
    <//>
    <${Block} title=${t("blocked")}>
      ${!names.length && html`<${Line} text=${html`<span class="muted">${t("nobody_blocked")}</span>`} />`}
      ${names.map((name) => html`<${Line} key=${name} icon="block" text=${html`<bdi>${name}</bdi>`} right=${html`
        <button class="button button--small" type="button" onClick=${() => attempt(() => setBlocked(name, false))}>${t("unblock")}</button>`} />`)}
    <//>`;
}
