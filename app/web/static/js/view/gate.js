// The way in: log in, register, an invitation, a lost password, the first start.
import { useEffect, useState } from "preact/hooks";

import { chooseLanguage, lang, t } from "../i18n/index.js";
import { post } from "../net/http.js";
import { go } from "../state/route.js";
import { logIn, service } from "../state/session.js";
import { useTitle } from "./attention.js";
import { Field, Note, useForm } from "./form.js";
import { html } from "./html.js";
import { Icon, Logo, Wordmark } from "./icons.js";

const anonymous = { anonymous: true };
const PASSWORD_MIN = 8;

/** @param {{place: string, hash: string}} props `hash`: the code or token of a link. */
export function Gate({ place, hash }) {
  const Form = { register: Register, invite: Register, forgotten: Forgotten, reset: Reset, setup: Setup }[place] ?? LogIn;
  return html`
    <main class="gate" id="main">
      <div class="gate__in">
        <div class="gate__brand"><${Logo} /><${Wordmark} /><span class="off-screen">${t("brand")}</span></div>
        <${Form} key=${place} code=${hash.replace(/^(token|code)=/, "")} isInvited=${place === "invite"} />
      </div>
      <footer class="gate__foot">
        <button type="button" lang=${lang.value === "ru" ? "en" : "ru"} onClick=${() => chooseLanguage(lang.value === "ru" ? "en" : "ru")}>
          <${Icon} name="globe" size="20" />${t("other_language")}</button>
        <span>${location.host}</span>
      </footer>
    </main>`;
}

/** A card with a form in it, and links below. */
function Card({ heading, text, form, button, links = [], children }) {
  useTitle(heading);
  return html`
    <form class="card" onSubmit=${form.onSubmit}>
      <h1 class="card__title">${heading}</h1>
      ${text && html`<p class="card__text">${text}</p>`}
      ${form.note && html`<${Note}>${form.note}<//>`}
      ${children}
      <button class="button button--main button--wide" type="submit" disabled=${form.isBusy}>${button}</button>
    </form>
    ${links.length > 0 && html`<nav class="gate__links" aria-label=${t("other")}>${links.map(([path, label]) => html`<a href=${path}>${label}</a>`)}</nav>`}`;
}

const Username = ({ form, hint, ...rest }) => html`
  <${Field} name="username" label=${t("name")} hint=${hint} errors=${form.errors} autocomplete="username" autocapitalize="none" spellcheck=${false} required ...${rest} />`;
const Email = ({ form, ...rest }) => html`
  <${Field} name="email" type="email" label=${t("email")} hint=${t("email_hint")} errors=${form.errors} autocomplete="email" required ...${rest} />`;
const NewPassword = ({ form, name = "password" }) => html`
  <${Field} name=${name} type="password" label=${name === "password" ? t("password") : t("new_password")} hint=${t("password_hint", { n: PASSWORD_MIN })} errors=${form.errors}
    autocomplete="new-password" peek required />`;

function LogIn() {
  const form = useForm(
    async ({ username, password }) => {
      await logIn(username, password);
      if (/^\/(login|register|forgotten|invite|reset|setup)/.test(location.pathname)) go("/", { replace: true });
    },
    { no_active_account: t("wrong_password") },
  );
  const links = [["/forgotten", t("forgotten")], ...(service.value.registration === "open" ? [["/register", t("register")]] : [])];
  return html`
    <${Card} heading=${t("log_in_title")} form=${form} button=${t("log_in")} links=${links}>
      <${Username} form=${form} autofocus />
      <${Field} name="password" type="password" label=${t("password")} errors=${form.errors} autocomplete="current-password" peek required />
    <//>`;
}

/** An account of one's own, with the code of an invitation where one came by its link. */
function Register({ code, isInvited }) {
  const form = useForm(async (values) => {
    await post("/accounts/api/users/", isInvited ? { ...values, invitation: code } : values, anonymous);
    await logIn(values.username, values.password);
    go("/", { replace: true });
  });
  const heading = isInvited ? t("invited") : t("register_title");
  const wrong = form.errors.invitation?.join(" ");
  return html`
    <${Card} heading=${heading} text=${isInvited && t("invited_text")} form=${wrong ? { ...form, note: wrong } : form} button=${t("create_account")} links=${[["/login", t("have_account")]]}>
      <${Username} form=${form} hint=${t("name_hint")} autofocus />
      <${Email} form=${form} />
      <${NewPassword} form=${form} />
    <//>`;
}

const AGAIN_SECONDS = 60;

function Forgotten() {
  const [answer, setAnswer] = useState("");
  const [left, setLeft] = useState(0);
  useEffect(() => {
    if (!left) return;
    const timer = setTimeout(() => setLeft(left - 1), 1000);
    return () => clearTimeout(timer);
  }, [left]);
  const form = useForm(async ({ email }) => {
    const { detail } = await post("/accounts/api/password/reset/", { email }, anonymous);
    setAnswer(detail);
    setLeft(AGAIN_SECONDS);
  }, { no_mail: t("no_mail") });
  const button = left ? t("send_again_in", { n: left }) : t("send_link");
  return html`
    <${Card} heading=${t("forgotten")} text=${!answer && t("forgotten_text")} form=${{ ...form, isBusy: form.isBusy || left > 0 }} button=${button} links=${[["/login", t("back_to_login")]]}>
      ${answer && html`<${Note} calm>${answer}<//>`}
      <${Field} name="email" type="email" label=${t("email")} errors=${form.errors} autocomplete="email" required autofocus />
    <//>`;
}

function Reset({ code }) {
  const [answer, setAnswer] = useState("");
  const form = useForm(async ({ new_password }) => {
    const { detail } = await post("/accounts/api/password/reset/confirm/", { token: code, new_password }, anonymous);
    setAnswer(detail);
  });
  const wrong = form.errors.token?.join(" ");
  if (answer) {
    return html`<div class="card"><h1 class="card__title">${t("new_password")}</h1><${Note} calm>${answer}<//>
      <a class="button button--main button--wide" href="/login">${t("log_in")}</a></div>`;
  }
  return html`
    <${Card} heading=${t("new_password")} text=${t("reset_text")} form=${wrong ? { ...form, note: wrong } : form} button=${t("save")} links=${[["/login", t("back_to_login")]]}>
      <${NewPassword} form=${form} name="new_password" />
    <//>`;
}

/** The first start: whoever has the link from the log becomes the first administrator. */
function Setup({ code }) {
  const form = useForm(async (values) => {
    await post("/accounts/api/setup/", { ...values, code }, anonymous);
    await logIn(values.username, values.password);
    go("/", { replace: true });
  });
  const wrong = form.errors.code?.join(" ");
  return html`
    <${Card} heading=${t("welcome")} text=${t("welcome_text")} form=${wrong ? { ...form, note: wrong } : form} button=${t("begin")}>
      <${Username} form=${form} hint=${t("name_hint")} autofocus />
      <${Email} form=${form} />
      <${NewPassword} form=${form} />
    <//>`;
}
