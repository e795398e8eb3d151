/** Text from outside as it is shown: bounded, with nothing hidden in it. */

/* eslint-disable no-control-regex -- they are what this is about */
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]|(?<![\p{Extended_Pictographic}\ufe0f])\u200d/gu;

const ESCAPES =
  /\u001b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|.)/g;

/* eslint-enable no-control-regex */

/** Return `text` with characters that change how others read, or cannot be seen, written out. */
export function visible(text: string): string {
  return text
    .replace(/\r\n?/g, '\n')
    .replace(
      HIDDEN,
      found =>
        `⟨U+${found.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}⟩`
    );
}

/** Return `text` without terminal escapes. */
export function withoutEscapes(text: string): string {
  return text.replace(ESCAPES, '');
}

/** Return the beginning of `text`, never half of a character, and how many characters are left out. */
export function bounded(
  text: string,
  limit: number
): { text: string; left: number } {
  if (text.length <= limit) {
    return { text, left: 0 };
  }
  const half = /[\ud800-\udbff]/.test(text[limit - 1]);
  const kept = text.slice(0, half ? limit - 1 : limit);
  return { text: kept, left: text.length - kept.length };
}

/** Return `text` in at most `limit` characters: its begin and its end, and between them what is left out. */
export function middleCut(text: string, limit: number): string {
  if (text.length <= limit) {
    return text;
  }
  const part = Math.floor(limit / 2);
  const left = text.length - 2 * part;
  return `${text.slice(0, part)}\n[${left} characters left out]\n${text.slice(-part)}`;
}

/** Return one line for lists and labels. */
export function oneLine(text: string, limit = 120): string {
  const cut = bounded(text.slice(0, 8 * limit).trim(), 4 * limit).text;
  const line = visible(cut).replace(/\s+/g, ' ');
  return line.length > limit ? `${bounded(line, limit - 1).text}…` : line;
}

/** Return the first `count` lines of `text`, and how many lines there are. */
export function firstLines(
  text: string,
  count: number
): { text: string; lines: number } {
  let at = -1;
  let lines = 1;
  let end = text.length;
  while ((at = text.indexOf('\n', at + 1)) >= 0) {
    if (lines === count) {
      end = at;
    }
    lines += 1;
  }
  return { text: lines > count ? text.slice(0, end) : text, lines };
}

/** Return the last `count` lines of `text`, and how many lines there are. */
export function lastLines(
  text: string,
  count: number
): { text: string; lines: number } {
  const lines = text.split('\n');
  return { text: lines.slice(-count).join('\n'), lines: lines.length };
}

/** Return `seconds` for people: "0.4 s", "12 s", "3 min 20 s". */
export function duration(seconds: number): string {
  const time = Number.isFinite(seconds) && seconds > 0 ? seconds : 0;
  if (time < 9.95) {
    return `${time.toFixed(1)} s`;
  }
  const whole = Math.round(time);
  return whole < 60
    ? `${whole} s`
    : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** Return a size for people: "512 B", "1.4 kB", "20 MB". */
export function bytes(size: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  let amount = size;
  while (amount >= 999.5 && at < units.length - 1) {
    amount /= 1000;
    at += 1;
  }
  const digits = at === 0 || amount >= 9.95 ? 0 : 1;
  return `${amount.toFixed(digits)} ${units[at]}`;
}

/** Return US dollars for people; most tasks cost less than one. */
export function dollars(cost: number): string {
  if (cost > 0 && cost < 0.0001) {
    return '< $0.0001';
  }
  return `$${cost.toFixed(cost === 0 || cost >= 1 ? 2 : 4)}`;
}
