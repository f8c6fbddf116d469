// The emoji of the panel, with the words by which they are found: `sign russian english`.

const GROUPS = {
  faces: `😀 улыбка радость smile|😃 улыбка smile|😄 смех laugh|😁 улыбка grin|😅 пот неловко sweat|😂 смех слёзы joy
    |🙂 улыбка smile|😉 подмигивание wink|😊 радость blush|😇 ангел angel|😍 любовь love|😘 поцелуй kiss|😋 вкусно yummy
    |😎 круто cool|🤓 умник nerd|🤔 думаю think|😐 нейтрально neutral|😏 ухмылка smirk|🙄 закатил roll|😴 сон sleep
    |😌 спокойно relieved|😔 грусть sad|😕 смущение confused|😢 слеза cry|😭 плач sob|😤 злость huff|😠 злость angry
    |😡 ярость rage|😱 ужас scream|😳 стыд flushed|🥳 праздник party|🤗 объятие hug|🤯 взрыв mind|🤒 болезнь ill|🤝 рукопожатие handshake`,
  gestures: `👍 хорошо да спасибо good yes|👎 плохо нет bad no|👏 аплодисменты браво clap|🙌 ура hooray|🙏 спасибо пожалуйста thanks please
    |💪 сила strong|👌 окей ok|✌️ мир победа peace|👋 привет пока hello bye|🤞 удача luck|👆 вверх up|👇 вниз down|👉 туда right
    |👈 туда left|✋ стоп stop|🤙 звони call|✍️ пишу write|👀 смотрю eyes|🧠 мозг brain|❤️ сердце любовь heart love|💚 сердце heart
    |💔 сердце broken|💯 сто hundred|💤 сон sleep|💬 беседа chat`,
  nature: `🔥 огонь fire hot|✨ блеск sparkles|⭐ звезда star|☀️ солнце sun|🌧️ дождь rain|⛈️ гроза storm|❄️ снег snow|🌈 радуга rainbow
    |🌊 волна wave|🌲 дерево tree|🌷 цветок flower|🌹 роза rose|🍀 удача clover|🐱 кот cat|🐶 собака dog|🐻 медведь bear|🦊 лиса fox
    |🐝 пчела жук bee bug|🐢 медленно slow turtle|🐌 медленно slow snail|🦄 единорог unicorn|🐙 осьминог octopus`,
  places: `🏠 дом home|🏢 офис office|🏗️ стройка site|🏥 больница hospital|🚗 машина car|🚕 такси taxi|🚌 автобус bus|🚲 велосипед bike
    |🚆 поезд train|✈️ самолёт plane|🚀 ракета rocket ship|⛵ лодка boat|🗺️ карта map|🏖️ отпуск пляж beach|⛰️ горы mountain
    |☕ кофе coffee|🍵 чай tea|🍕 пицца pizza|🍞 хлеб bread|🍎 яблоко apple|🎂 торт день рождения cake birthday|🍺 пиво beer|🥂 бокалы cheers`,
  things: `📌 важно pin|📎 скрепка clip|✏️ карандаш pencil|📝 записка note|📅 календарь дата calendar|📦 посылка box|📞 телефон phone
    |💻 компьютер computer|🖨️ принтер printer|🔑 ключ key|🔒 замок lock|🔧 ключ tool|🔨 молоток hammer|💡 идея idea|📷 снимок camera
    |🎉 праздник ура party|🎁 подарок gift|🏆 победа cup|🎵 музыка music|📈 рост growth|📉 падение fall|💰 деньги money|⏰ время clock|🗑️ мусор trash`,
  signs: `✅ готово да done yes|❌ нет ошибка no wrong|❓ вопрос question|❗ важно important|⚠️ внимание warning|⛔ стоп stop|🆗 окей ok
    |🔴 красный red|🟡 жёлтый yellow|🟢 зелёный green|🔵 синий blue|⬆️ вверх up|⬇️ вниз down|➡️ вправо right|⬅️ влево left|🔁 повтор repeat
    |➕ плюс plus|➖ минус minus|✔️ галочка check|♻️ снова recycle|🇷🇺 россия russia|🏁 финиш finish`,
};

/** @type {{group: string, items: {sign: string, words: string}[]}[]} */
export const emoji = Object.entries(GROUPS).map(([group, text]) => ({
  group,
  items: text.split("|").map((each) => {
    const [sign, ...words] = each.trim().split(/\s+/);
    return { sign, words: words.join(" ") };
  }),
}));

/** The emoji one of whose words begins with a text, case ignored. */
export function findEmoji(/** @type {string} */ text) {
  const start = text.trim().toLowerCase();
  const all = emoji.flatMap((each) => each.items);
  return all.filter(({ words }) => words.split(" ").some((word) => word.startsWith(start)));
}

const RECENT = "emoji";

/** The emoji that were chosen last, newest first. */
export const recentEmoji = () => JSON.parse(localStorage.getItem(RECENT) ?? "[]");

export function rememberEmoji(/** @type {string} */ sign) {
  const recent = [sign, ...recentEmoji().filter((each) => each !== sign)].slice(0, 16);
  localStorage.setItem(RECENT, JSON.stringify(recent));
}
