// What others see of oneself: the picture and some words.
import { useEffect, useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import * as http from "../net/http.js";
import { pictureAt } from "../state/people.js";
import { me } from "../state/session.js";
import { dispatch } from "../state/world.js";
import { PersonAvatar } from "./avatar.js";
import { attempt } from "./failure.js";
import { Field, Note, useForm } from "./form.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Block } from "./page.js";
import { toast } from "./toast.js";

const PATH = "/profiles/api/profile/";
const BIO_MAX = 2000;

export function ProfileForm() {
  const [profile, setProfile] = useState(undefined);
  const show = (answer) => {
    setProfile(answer);
    dispatch({ type: "people", people: [{ id: answer.id, username: answer.username, image: answer.profile.image }] });
  };
  useEffect(() => void attempt(async () => show(await http.get(PATH))), []);
  const form = useForm(async ({ bio }) => {
    show(await http.patch(PATH, { bio }));
    toast(t("saved"));
  });
  const choose = ({ target }) => attempt(async () => {
    const data = new FormData();
    data.set("image", target.files[0]);
    target.value = "";
    show(await (await http.request("PATCH", PATH, { form: data })).json());
  });
  const image = profile?.profile.image;
  return html`
    <form class="stack" onSubmit=${form.onSubmit}>
      <${Block} title=${t("how_you_are_seen")} note=${t("name_stays")}>
        <div class="line line--top"><div class="who grow">
          <${PersonAvatar} name=${me.value.username} image=${image} size="96" still />
          <div class="grow">
            <p class="who__name"><bdi>${me.value.username}</bdi></p><p class="who__state">${me.value.email}</p>
            <div class="acts-row">
              <label class="button button--small"><${Icon} name="camera" size="20" />${t("change_picture")}
                <input class="off-screen" type="file" accept="image/*" onChange=${choose} /></label>
              ${pictureAt(image) && html`<button class="button button--small button--danger-quiet" type="button"
                onClick=${() => attempt(async () => show(await http.patch(PATH, { image: null })))}>${t("remove_picture")}</button>`}
            </div>
          </div>
        </div></div>
        <div class="line line--top"><div class="grow">
          ${form.note && html`<${Note}>${form.note}<//>`}
          <${Field} area name="bio" label=${t("bio")} hint=${t("bio_hint")} errors=${form.errors} maxlength=${BIO_MAX} defaultValue=${profile?.profile.bio} key=${profile?.id} dir="auto" />
        </div></div>
      <//>
      <div class="acts-row"><button class="button button--main" type="submit" disabled=${form.isBusy || !profile}>${t("save")}</button></div>
    </form>`;
}
