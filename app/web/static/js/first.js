// Runs before anything is painted, and before the modules are there: a chosen theme does not
// flash, and what takes long is asked for while they are loading.
{
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;

  const ask = (path, options, headers) =>
    fetch(path, { cache: "no-store", redirect: "error", ...options, headers: { Accept: "application/json", ...headers } });

  if (localStorage.getItem("me")) {
    const json = { "Content-Type": "application/json" };
    const token = ask("/accounts/api/token/refresh/", { method: "POST", body: '{"cookie":true}' }, json);
    const chats = token.then(async (response) => {
      const { access } = await response.clone().json();
      return ask("/messenger/api/chats/", {}, { Authorization: `Bearer ${access}` });
    });
    for (const asked of [token, chats]) asked.catch(() => {}); // whoever wants it asks again
    window.early = { token, chats };
  }
}
