// A conversation of two people, by the types that openapi-typescript makes of the document.
// Each `@ts-expect-error` is a mistake that these types have to catch.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[] };
const [, , baseUrl, ann, bob, password] = process.argv as [string, string, string, string, string, string];

function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

async function logIn(username: string) {
  const anybody = createClient<paths>({ baseUrl });
  const email = `${username}@example.com`;
  const made = await anybody.POST("/accounts/api/users/", { body: { username, email, password } });
  check(made.data?.email === email, "registered");
  const { data } = await anybody.POST("/accounts/api/token/", { body: { username, password } });
  check(data !== undefined, "logged in");
  return createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${data.access}` } });
}

const [asAnn, asBob] = [await logIn(ann), await logIn(bob)];

const { data: room } = await asAnn.POST("/messenger/api/chatrooms/", { body: { recipient: bob } });
check(room?.display_name === bob, "room");
const there = { params: { path: { room_name: room.name } } };
const sent = await asAnn.POST("/messenger/api/chatrooms/{room_name}/messages/", {
  ...there,
  body: { content: "Привет!" },
});
const message: components["schemas"]["MessageOut"] | undefined = sent.data;
const { data: heard } = await asBob.GET("/messenger/api/chatrooms/{room_name}/messages/", there);
check(heard?.length === 1 && heard[0]?.id === message?.id, "message");
check(heard[0]?.user === ann && heard[0].content === "Привет!", "content");

const { error: refused } = await asAnn.GET("/messenger/api/chatrooms/{room_name}/messages/", {
  params: { path: { room_name: "no_room" } },
});
check(refused?.code === "room_not_found", "refusal");
const { error: wrong } = await asAnn.POST("/profiles/api/posts/", { body: { title: "", content: " " } });
check(wrong !== undefined && "errors" in wrong && "title" in (wrong.errors as object), "errors");

export async function mistakes() {
  // @ts-expect-error: no such path
  await asAnn.GET("/accounts/api/nobody/");
  // @ts-expect-error: a field is missing
  await asAnn.POST("/accounts/api/token/", { body: { username: ann } });
  // @ts-expect-error: of another type
  await asAnn.POST("/messenger/api/chatrooms/", { body: { recipient: 1 } });
  // @ts-expect-error: a message has no such field
  heard?.[0]?.title;
}
console.log("said and heard");
