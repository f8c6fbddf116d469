// Posts: everybody's, one's own, and writing one.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import { changePost, hasOlder, loadOlderPosts, loadPosts, posts, removePost, writePost } from "../state/posts.js";
import { back, go } from "../state/route.js";
import { me } from "../state/session.js";
import { moment } from "../text/time.js";
import { ask } from "./ask.js";
import { useTitle } from "./attention.js";
import { PersonAvatar } from "./avatar.js";
import { attempt } from "./failure.js";
import { Note, useForm } from "./form.js";
import { html } from "./html.js";
import { Icon, IconButton } from "./icons.js";
import { showMenu } from "./menu.js";
import { Text } from "./message.js";
import { Page } from "./page.js";

/** @param {{author?: string}} props Whose posts; everybody's without it. */
export function Posts({ author }) {
  useEffect(() => void attempt(loadPosts), []);
  const shown = posts.value?.filter((post) => !author || post.author === author);
  const write = html`<a class="button button--main wide-only" href="/posts/write"><${Icon} name="edit" size="20" />${t("write_post")}</a>
    <a class="icon-button icon-button--accent phone-only" href="/posts/write" aria-label=${t("write_post")}><${Icon} name="edit" /></a>`;
  const tab = (path, label, isOn) => html`<a class="choice__one choice__link" href=${path} aria-current=${isOn ? "page" : undefined}>${label}</a>`;
  const isMine = author === me.value.username;
  return html`
    <${Page} title=${t("posts")} head=${write}>
      <nav class="two choice" aria-label=${t("whose_posts")}>
        ${tab("/posts", t("all"), !author)}${tab("/posts/mine", t("mine"), isMine)}${author && !isMine && tab("", author, true)}
      </nav>
      ${shown?.map((post) => html`<${Post} key=${post.id} post=${post} />`)}
      ${shown?.length === 0 && html`<div class="sheet"><div class="empty"><${Icon} name="posts" extra="empty__icon" />
        <h2 class="empty__title">${isMine ? t("no_posts_mine") : t("no_posts")}</h2><p class="empty__text">${t("no_posts_text")}</p></div></div>`}
      ${hasOlder.value && html`<div class="acts-row"><button class="button" type="button" onClick=${() => attempt(loadOlderPosts)}>${t("older_posts")}</button></div>`}
    <//>`;
}

function Post({ post }) {
  const [isOpen, setOpen] = useState(false);
  const [isCut, setCut] = useState(false);
  const text = useRef(null);
  useLayoutEffect(() => setCut(text.current.scrollHeight > text.current.clientHeight + 2), [post.content]);
  const isMine = post.author === me.value.username;
  const menu = () => [
    { icon: "edit", label: t("edit"), run: () => go(`/posts/write/${post.id}`) },
    {
      icon: "trash", label: t("delete_more"), danger: true, line: true,
      run: () => ask({ title: t("delete_post"), text: t("delete_post_text"), no: t("keep"), yes: t("delete"), run: () => removePost(post.id) }),
    },
  ];
  return html`
    <article class="post">
      <div class="post__head">
        <${PersonAvatar} name=${post.author} size="36" />
        <div class="grow"><b class="one-line block-line"><bdi>${post.author}</bdi></b><time class="muted small" datetime=${post.created_at}>${moment(post.created_at)}</time></div>
        ${isMine && html`<${IconButton} icon="dots" label=${t("edit_or_delete")} aria-haspopup="menu" onClick=${(event) => showMenu(event.currentTarget, menu(), t("edit_or_delete"), post.title)} />`}
      </div>
      <h2 class="post__title" dir="auto">${post.title}</h2>
      <div class=${isOpen ? "post__text" : "post__text post__text--cut"} dir="auto" ref=${text}><${Text} text=${post.content} /></div>
      ${isCut && !isOpen && html`<div><button class="link small tall" type="button" onClick=${() => setOpen(true)}>${t("read_on")}</button></div>`}
    </article>`;
}

const DRAFT = "post"; // in localStorage: a post that is being written
const keptDraft = () => JSON.parse(localStorage.getItem(DRAFT) ?? "{}");

/** @param {{id?: number}} props The post to change; a new one without it. */
export function WritePost({ id }) {
  const old = id ? posts.value?.find((post) => post.id === id) : keptDraft();
  const [isKept, setKept] = useState(false);
  const clientId = useRef(crypto.getRandomValues(new Uint32Array(3)).join("-"));
  useTitle(id ? t("edit_post") : t("new_post"));
  useEffect(() => {
    if (id && !old) go("/posts/mine", { replace: true });
  }, []);
  const form = useForm(async (values) => {
    if (id) await changePost(id, values);
    else await writePost(values, clientId.current);
    if (!id) localStorage.removeItem(DRAFT);
    go("/posts", { replace: true });
  });
  const keep = ({ currentTarget }) => {
    if (id) return;
    localStorage.setItem(DRAFT, JSON.stringify(Object.fromEntries(new FormData(currentTarget))));
    setKept(true);
  };
  const said = Object.values(form.errors).flat().join(" ") || form.note;
  return html`
    <section class="main main--plain" id="main" aria-label=${id ? t("edit_post") : t("new_post")}>
      <header class="bar">
        <${IconButton} icon="back" label=${t("back")} onClick=${() => back("/posts")} />
        <h1 class="bar__title">${id ? t("edit_post") : t("new_post")}</h1>
        ${isKept && html`<span class="muted small wide-only">${t("draft_kept")}</span>`}
        <button class="button button--main button--small" type="submit" form="post" disabled=${form.isBusy}>${id ? t("save") : t("publish")}</button>
      </header>
      <div class="scroll" tabindex="-1">
        <form class="page editor" id="post" onSubmit=${form.onSubmit} onInput=${keep}>
          ${said && html`<${Note}>${said}<//>`}
          <textarea class="editor__title" name="title" rows="1" maxlength="200" required aria-label=${t("post_title")} placeholder=${t("post_title")} dir="auto" defaultValue=${old?.title}></textarea>
          <textarea class="editor__text" name="content" required aria-label=${t("post_text")} placeholder=${t("post_text")} dir="auto" defaultValue=${old?.content}></textarea>
        </form>
      </div>
    </section>`;
}
