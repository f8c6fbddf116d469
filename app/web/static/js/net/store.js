// What this device keeps in IndexedDB: what waits to be sent, drafts, and a copy for offline.
// Everything belongs to one person and goes when they log out.

const NAME = "beseda";
const STORES = ["outbox", "drafts", "kept"];
let opening;

function open() {
  opening ??= new Promise((resolve, reject) => {
    const asked = indexedDB.open(NAME, 1);
    asked.onupgradeneeded = () => STORES.forEach((name) => asked.result.createObjectStore(name));
    asked.onsuccess = () => {
      asked.result.onversionchange = () => asked.result.close();
      resolve(asked.result);
    };
    asked.onerror = () => reject(asked.error);
  });
  return opening;
}

async function run(store, mode, action) {
  const database = await open();
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(store, mode);
    const asked = action(transaction.objectStore(store));
    transaction.oncomplete = () => resolve(asked?.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

/** @typedef {"outbox" | "drafts" | "kept"} Store */

export const put = (/** @type {Store} */ store, key, value) => run(store, "readwrite", (s) => s.put(value, key));
export const drop = (/** @type {Store} */ store, key) => run(store, "readwrite", (s) => s.delete(key));
export const find = (/** @type {Store} */ store, key) => run(store, "readonly", (s) => s.get(key));
export const all = (/** @type {Store} */ store) => run(store, "readonly", (s) => s.getAll());

/** Forgets everything of whoever was logged in. */
export async function clear() {
  for (const store of STORES) await run(store, "readwrite", (s) => s.clear());
}
