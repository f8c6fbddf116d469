// Sessions, password and address, and one's data.
import { useEffect, useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import * as http from "../net/http.js";
import { forget, identify, me } from "../state/session.js";
import { moment } from "../text/time.js";
import { ask } from "./ask.js";
import { attempt } from "./failure.js";
import { Field, Note, useForm } from "./form.js";
import { html } from "./html.js";
import { Block, Line } from "./page.js";
import { toast } from "./toast.js";

const SESSIONS = "/accounts/api/sessions/";

/** What a device is, in the words that people know it by. */
const deviceName = ({ device: { browser, system }, client }) =>
  [browser, system].filter(Boolean).join(", ") || client.slice(0, 60) || t("unknown_program");

export function Sessions() {
  const [sessions, setSessions] = useState([]);
  const reload = () => attempt(async () => setSessions((await http.get(SESSIONS)).reverse()));
  useEffect(() => void reload(), []);
  const end = (ids) => attempt(async () => {
    for (const id of ids) await http.remove(`${SESSIONS}${id}/`);
    await reload();
  });
  const others = sessions.filter((each) => !each.current);
  const row = (each) => html`
    <${Line} key=${each.id} icon=${each.device.kind === "phone" ? "phone" : "desktop"} text=${html`${deviceName(each)}${each.current && html` <span class="tag tag--accent">${t("this_session")}</span>`}`}
      hint=${`${each.address} · ${each.current ? t("since", { when: moment(each.created_at) }) : moment(each.last_used_at)}`}
      right=${!each.current && html`<button class="button button--small button--danger-quiet" type="button" aria-label=${t("end_session", { name: deviceName(each) })} onClick=${() => end([each.id])}>${t("end")}</button>`} />`;
  return html`
    <${Block} title=${t("now")}>${sessions.filter((each) => each.current).map(row)}<//>
    ${others.length > 0 && html`
      <${Block} title=${t("others")} note=${t("sessions_note")}>${others.map(row)}<//>
      <div class="acts-row"><button class="button button--danger-quiet" type="button" onClick=${() => end(others.map(({ id }) => id))}>${t("end_others")}</button></div>`}`;
}

export function Safety() {
  const password = useForm(async ({ old_password, new_password }, form) => {
    const { access } = await http.post("/accounts/api/password/", { old_password, new_password, cookie: true });
    http.setToken(access);
    form.reset();
    toast(t("password_changed"));
  });
  const email = useForm(async (values) => {
    await http.patch("/accounts/api/users/me/", { email: values.email, password: values.password });
    await identify();
    toast(t("saved"));
  });
  return html`
    <${Block} title=${t("password")} note=${t("password_note")}>
      <form class="line line--top" onSubmit=${password.onSubmit}><div class="grow stack">
        ${password.note && html`<${Note}>${password.note}<//>`}
        <${Field} name="old_password" type="password" label=${t("old_password")} errors=${password.errors} autocomplete="current-password" peek required />
        <${Field} name="new_password" type="password" label=${t("new_password")} errors=${password.errors} autocomplete="new-password" peek required />
        <div><button class="button button--main" type="submit" disabled=${password.isBusy}>${t("change_password")}</button></div>
      </div></form>
    <//>
    <${Block} title=${t("email")} note=${t("email_hint")}>
      <form class="line line--top" onSubmit=${email.onSubmit}><div class="grow stack">
        ${email.note && html`<${Note}>${email.note}<//>`}
        <${Field} name="email" type="email" label=${t("email")} errors=${email.errors} defaultValue=${me.value.email} autocomplete="email" required />
        <${Field} name="password" type="password" label=${t("your_password")} errors=${email.errors} autocomplete="current-password" peek required />
        <div><button class="button button--main" type="submit" disabled=${email.isBusy}>${t("save")}</button></div>
      </div></form>
    <//>`;
}

export function Data() {
  const erase = () => ask({
    title: t("erase"), text: t("erase_text"), no: t("do_not_erase"), yes: t("erase_for_ever"), password: true,
    run: async ({ password }) => {
      await http.remove("/accounts/api/users/me/", { password });
      await forget();
    },
  });
  return html`
    <${Block} title=${t("take_along")}>
      <${Line} icon="download" text=${t("export")} hint=${t("export_hint")} onClick=${() => attempt(download)} />
    <//>
    <${Block} title=${t("go_away")}>
      <${Line} icon="trash" text=${t("erase_more")} hint=${t("erase_hint")} danger onClick=${erase} />
    <//>`;
}

async function download() {
  const answer = await http.request("GET", "/accounts/api/users/me/export/");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = `beseda-${me.value.id}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
