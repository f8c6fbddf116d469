// What `first.js` asked for before this page was there.

/** The answer to it, once; undefined without a good one. @returns {Promise<Response | undefined>} */
export async function takeEarly(/** @type {"token" | "chats"} */ what) {
  const asked = window.early?.[what];
  if (asked) delete window.early[what];
  const response = await asked?.catch(() => {});
  return response?.ok ? response : undefined;
}
