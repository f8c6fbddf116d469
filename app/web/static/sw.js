// The service worker: it keeps the shell of the page, so that it opens without a network.
// What people write never passes through here; it is in IndexedDB.

const CACHE = "shell-{hash}";
const SHELL = ["SHELL"];
const ANY = { ignoreVary: true }; // what was kept was asked for by this worker, with headers of its own
const PLACES = /^\/($|(chat|posts|people|settings|team|login|register|forgotten|invite|reset|setup)(\/|$))/;

self.addEventListener("install", (event) => {
  event.waitUntil(keepShell().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(dropOldShells().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== self.location.origin) return;
  if (event.request.mode === "navigate" && PLACES.test(url.pathname)) {
    event.respondWith(freshPage());
  } else if (url.pathname.startsWith("/static/")) {
    event.respondWith(caches.match(url.pathname, ANY).then((kept) => kept ?? fetch(event.request)));
  }
});

async function keepShell() {
  const cache = await caches.open(CACHE);
  await cache.addAll(SHELL);
  const page = await fetch("/", { headers: { Accept: "text/html" } });
  if (page.ok) await cache.put("/", page);
}

async function dropOldShells() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name !== CACHE).map((name) => caches.delete(name)));
}

// The page of the server, so that a new version is seen at once; the kept one where the
// server cannot be reached, or does not answer soon.
async function freshPage() {
  const kept = await caches.match("/", ANY);
  const late = new Promise((resolve) => setTimeout(resolve, 2500));
  const page = await Promise.race([
    fetch("/", { headers: { Accept: "text/html" } }).catch(() => undefined),
    late,
  ]);
  return page?.ok ? page : kept ?? fetch("/");
}

// What the server sends has both forms of Web Push: browsers that know the declarative one show it by themselves.
self.addEventListener("push", (event) => {
  const { title, navigate, ...shown } = event.data.json().notification;
  const options = { ...shown, data: { navigate }, icon: "{base}icons/icon-192.png", badge: "{base}icons/badge-96.png" };
  event.waitUntil(self.registration.showNotification(title, options));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(show(event.notification.data.navigate));
});

// A page that is open goes there without being loaded anew.
async function show(address) {
  const { pathname } = new URL(address, self.location.origin);
  const [open] = await self.clients.matchAll({ type: "window" });
  if (!open) return self.clients.openWindow(pathname);
  open.postMessage({ go: pathname });
  await open.focus();
}
